"""Token counts drawn from a Lengths distribution by its inverse CDF, from uniforms that may be stratified and correlated."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from simulator.spec.workload import Lengths, Lognormal, Quantiles, Uniform

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BELOW_ONE = float(np.nextafter(1.0, 0.0))
ABOVE_ZERO = float(np.finfo(np.float64).tiny)


def sample(lengths: Lengths, u: Floats) -> Ints:
    """Returns the token counts at probabilities u[n] in [0, 1), int64[n], at least 1; rounded to whole tokens."""
    if lengths.fixed is not None:
        return np.full(len(u), lengths.fixed, np.int64)
    if lengths.uniform is not None:
        return _uniform(lengths.uniform, u)
    if lengths.lognormal is not None:
        return _lognormal(lengths.lognormal, u)
    assert lengths.quantiles is not None, "Lengths has exactly one form"
    return _quantiles(lengths.quantiles, u)


def _uniform(form: Uniform, u: Floats) -> Ints:
    return form.low + np.floor(u * (form.high - form.low + 1)).astype(np.int64)


def _lognormal(form: Lognormal, u: Floats) -> Ints:
    """Returns counts of which those above `max` are `max`, as where an engine cuts a request."""
    z = np.fromiter(map(NormalDist().inv_cdf, np.clip(u, ABOVE_ZERO, BELOW_ONE).tolist()), np.float64, len(u))
    # Cut before exp, which would overflow for a large sigma.
    logarithm: Floats = np.minimum(np.log(form.median) + form.sigma * z, np.log(form.max))
    return np.clip(np.rint(np.exp(logarithm)), 1, form.max).astype(np.int64)


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
    return np.minimum(np.fromiter(map(NormalDist().cdf, normals.tolist()), np.float64, len(normals)), BELOW_ONE)
