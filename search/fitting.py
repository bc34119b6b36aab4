"""Fitting a correction: factors by operator class from the residuals of validations, as few as the data tell apart.

A residual, log(measured / simulated), is about the sum over the classes of the metric's share in a class (`work`) times the
logarithm of its factor. Where a queue makes a metric grow faster than the seconds, shares add up to more than one and the
residual to as much more: rows are divided by that sum. Least squares, for the classes each alone, for kernels against host,
and for one factor of all; what is taken is the richest of these that predicts deployments left out best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.correction import CLASSES
from simulator.errors import InputError
from simulator.spec.correction import Correction, OperatorClass

Floats = NDArray[np.float64]
Groups = tuple[tuple[OperatorClass, ...], ...]
# From the poorest to the richest.
GROUPINGS: tuple[Groups, ...] = (
    (("attention", "rest", "host"),),
    (("attention", "rest"), ("host",)),
    (("attention",), ("rest",), ("host",)),
)
# A richer one has to be better by this share, or it follows the noise.
BETTER = 0.05
# Metrics whose growth is mostly the queue's tell little of operators.
MOST_GROWTH = 4.0
LEAST_DEPLOYMENTS = 3


@dataclass(frozen=True)
class Residual:
    """A metric of one run: who was run, which metric, log(measured / simulated), and its shares in the classes."""

    deployment: str
    metric: str
    value: float
    shares: Mapping[str, float]


def residuals_of(deployment: str, errors: Mapping[str, float], work: Mapping[str, Mapping[str, float]]) -> list[Residual]:
    """Returns the residuals of one run that tell of operators: metrics that a queue does not make explode."""
    return [
        Residual(deployment, metric, -float(np.log1p(errors[metric])), shares)
        for metric, shares in work.items()
        if metric in errors and 0 < sum(shares.values()) <= MOST_GROWTH
    ]


def fit(name: str, residuals: Sequence[Residual]) -> Correction:
    """Returns the correction; raises InputError with fewer than three deployments, since one is always left out."""
    deployments = sorted({each.deployment for each in residuals})
    if len(deployments) < LEAST_DEPLOYMENTS:
        raise InputError("--fit", name, f"validations of {LEAST_DEPLOYMENTS} deployments or more; {len(deployments)} are stored")
    chosen, least = GROUPINGS[0], np.inf
    for groups in GROUPINGS:
        error = _score(_left_out(groups, residuals, deployments))
        if error < least * (1 - BETTER):
            chosen, least = groups, error
    factors, spread = _solve(chosen, residuals)
    left_out = _left_out(chosen, residuals, deployments)
    metrics = sorted({each.metric for each in residuals})
    return Correction(
        name=name,
        **{each: float(np.exp(factor)) for each, factor in _by_class(chosen, factors).items()},
        spread=_by_class(chosen, spread),
        left_out={
            metric: float(np.median([abs(np.expm1(-v)) for each, v in left_out if each.metric == metric])) for metric in metrics
        },
        deployments=len(deployments),
    )


def _left_out(groups: Groups, residuals: Sequence[Residual], deployments: Sequence[str]) -> list[tuple[Residual, float]]:
    """Returns what remains of each residual under the factors of all other deployments."""
    remains: list[tuple[Residual, float]] = []
    for deployment in deployments:
        factors, _ = _solve(groups, [each for each in residuals if each.deployment != deployment])
        own = [each for each in residuals if each.deployment == deployment]
        remains += [(each, each.value - float(row @ factors)) for each, row in zip(own, _design(groups, own), strict=True)]
    return remains


def _score(remains: Sequence[tuple[Residual, float]]) -> float:
    return float(np.mean([abs(value) for _, value in remains]))


def _solve(groups: Groups, residuals: Sequence[Residual]) -> tuple[Floats, Floats]:
    """Returns the logarithms of the factors and their standard errors."""
    design, values = _design(groups, residuals), np.array([each.value for each in residuals])
    growth = design.sum(axis=1)
    rows, wanted = design / growth[:, None], values / growth
    found, _, rank, _ = np.linalg.lstsq(rows, wanted, rcond=None)
    freedom = max(len(wanted) - int(rank), 1)
    variance = float(((wanted - rows @ found) ** 2).sum()) / freedom
    return found, np.sqrt(variance * np.diag(np.linalg.pinv(rows.T @ rows)))


def _design(groups: Groups, residuals: Sequence[Residual]) -> Floats:
    return np.array([[sum(each.shares.get(name, 0.0) for name in group) for group in groups] for each in residuals])


def _by_class(groups: Groups, values: Floats) -> dict[OperatorClass, float]:
    found = {name: float(value) for group, value in zip(groups, values, strict=True) for name in group}
    return {name: found[name] for name in CLASSES}
