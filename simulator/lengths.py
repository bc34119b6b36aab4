"""Token counts and seconds drawn by the inverse CDF of a distribution, from uniforms that may be stratified and correlated."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from simulator.spec.distributions import Lengths, Lognormal, Lognormals, Quantiles, Uniform, Wait, Weibull

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BELOW_ONE = float(np.nextafter(1.0, 0.0))
ABOVE_ZERO = float(np.finfo(np.float64).tiny)
# Points of the table that a mixture is inverted by, and the sigmas that it reaches beyond the outer medians.
TABLE_POINTS = 20_001
TABLE_SIGMAS = 9.0


def sample(lengths: Lengths, u: Floats) -> Ints:
    """Returns the token counts at probabilities u[n] in [0, 1), int64[n], at least 1; rounded to whole tokens."""
    if lengths.fixed is not None:
        return np.full(len(u), lengths.fixed, np.int64)
    if lengths.uniform is not None:
        return _uniform(lengths.uniform, u)
    if lengths.lognormal is not None:
        return _lognormal(lengths.lognormal, u)
    if lengths.lognormals is not None:
        return _lognormals(lengths.lognormals, u)
    if lengths.weibull is not None:
        return _weibull(lengths.weibull, u)
    assert lengths.quantiles is not None, "Lengths has exactly one form"
    return _quantiles(lengths.quantiles, u)


def seconds(wait: Wait, u: Floats) -> Floats:
    """Returns the seconds at probabilities u[n] in [0, 1), float64[n], at least 0."""
    if wait.fixed is not None:
        return np.full(len(u), wait.fixed)
    if wait.uniform is not None:
        return wait.uniform.low + u * (wait.uniform.high - wait.uniform.low)
    if wait.exponential is not None:
        drawn: Floats = -wait.exponential.mean * np.log1p(-u)
        return drawn
    if wait.lognormal is not None:
        form = wait.lognormal
        logarithm: Floats = np.minimum(np.log(form.median) + form.sigma * _normals(u), np.log(form.max))
        return np.exp(logarithm)
    assert wait.quantiles is not None, "Wait has exactly one form"
    return np.interp(100 * u, wait.quantiles.percent, wait.quantiles.seconds)


def mean(lengths: Lengths) -> float:
    """Returns the mean of the token counts, to a thousandth of the probability."""
    return float(sample(lengths, (np.arange(1000) + 0.5) / 1000).mean())


def _uniform(form: Uniform, u: Floats) -> Ints:
    return form.low + np.floor(u * (form.high - form.low + 1)).astype(np.int64)


def _lognormal(form: Lognormal, u: Floats) -> Ints:
    """Returns counts of which those above `max` are `max`, as where an engine cuts a request."""
    # Cut before exp, which would overflow for a large sigma.
    logarithm: Floats = np.minimum(np.log(form.median) + form.sigma * _normals(u), np.log(form.max))
    return np.clip(np.rint(np.exp(logarithm)), 1, form.max).astype(np.int64)


def _lognormals(form: Lognormals, u: Floats) -> Ints:
    """Returns counts by a table of the mixture's CDF over the logarithm, linear in between."""
    middles, sigmas = np.log(form.medians), np.array(form.sigmas)
    grid = np.linspace((middles - TABLE_SIGMAS * sigmas).min(), (middles + TABLE_SIGMAS * sigmas).max(), TABLE_POINTS)
    parts = [_cumulated((grid - middle) / sigma) for middle, sigma in zip(middles, sigmas, strict=True)]
    cdf = np.average(parts, axis=0, weights=form.weights)
    logarithm = np.minimum(np.interp(u, cdf, grid), np.log(form.max))
    return np.clip(np.rint(np.exp(logarithm)), 1, form.max).astype(np.int64)


def _weibull(form: Weibull, u: Floats) -> Ints:
    """Returns counts scale (-ln(1 - u))^(1 / shape)."""
    with np.errstate(over="ignore"):
        values = form.scale * (-np.log1p(-u)) ** (1 / form.shape)
    return np.clip(np.rint(values), 1, form.max).astype(np.int64)


def _quantiles(form: Quantiles, u: Floats) -> Ints:
    return np.rint(np.interp(100 * u, form.percent, form.tokens)).astype(np.int64)


def copula(count: int, rho: float, rng: np.random.Generator, stratified: bool = True) -> tuple[Floats, Floats]:
    """Returns two float64[count] of uniforms in [0, 1), joined by a Gaussian copula of correlation `rho`.

    Stratified, each of them has exactly one value in each of `count` equal intervals: u = (permutation + v) / count. The
    permutation is the ranks of the copula's normals, so that stratifying leaves their correlation as it is.
    """
    first = rng.standard_normal(count)
    second = rho * first + np.sqrt(1 - rho**2) * rng.standard_normal(count)
    turn = _strata if stratified else _probabilities
    return turn(first, rng), turn(second, rng)


def _strata(normals: Floats, rng: np.random.Generator) -> Floats:
    ranks = np.empty(len(normals))
    ranks[np.argsort(normals, kind="stable")] = np.arange(len(normals))
    return np.minimum((ranks + rng.random(len(normals))) / len(normals), BELOW_ONE)


def _probabilities(normals: Floats, rng: np.random.Generator) -> Floats:
    return np.minimum(_cumulated(normals), BELOW_ONE)


def uniforms(count: int, rng: np.random.Generator, stratified: bool = True) -> Floats:
    """Returns float64[count] in [0, 1), one in each of `count` equal intervals where `stratified`, in random order."""
    if not stratified:
        return rng.random(count)
    return np.minimum((rng.permutation(count) + rng.random(count)) / max(count, 1), BELOW_ONE)


def _normals(u: Floats) -> Floats:
    return np.fromiter(map(NormalDist().inv_cdf, np.clip(u, ABOVE_ZERO, BELOW_ONE).tolist()), np.float64, len(u))


def _cumulated(normals: Floats) -> Floats:
    return np.fromiter(map(NormalDist().cdf, normals.tolist()), np.float64, len(normals))
