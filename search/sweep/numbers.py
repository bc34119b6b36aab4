"""Numbers of a case: a value, what kind of number it is, and how much it scatters from seed to seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from search.fidelity import LEVEL

Kind = Literal["capacity", "latency", "throughput", "cost", "memory", "workload", "prices", "engine", "accuracy"]
# Which way is better; of the others neither is.
LESS_IS_BETTER = ("latency", "cost", "prices", "accuracy")
MORE_IS_BETTER = ("capacity", "throughput")
CHECKING = 2


class Scatter(NamedTuple):
    """The standard error of a number's logarithm, and from how many degrees of freedom it is known."""

    error: float
    freedom: float


def of_samples(kind: Kind, samples: Sequence[float]) -> dict[str, Any]:
    """Returns the mean of one value a seed, with the values."""
    return {"value": math.fsum(samples) / len(samples), "kind": kind, "samples": list(samples)}


def of_interval(kind: Kind, value: float, half: float | None, seeds: int = 1) -> dict[str, Any]:
    """Returns a value whose interval at LEVEL is `half` to each side, as a share of it, from so many seeds."""
    return {"value": value, "kind": kind, "half": half, "seeds": seeds}


def exact(kind: Kind, value: float) -> dict[str, Any]:
    """Returns a value that no seed changes."""
    return {"value": value, "kind": kind}


def scatter(number: Mapping[str, Any]) -> Scatter:
    """Returns how far the number would be off with other seeds."""
    samples = number.get("samples") or ()
    if len(samples) > 1 and min(samples) > 0:
        logs = [math.log(sample) for sample in samples]
        mean = math.fsum(logs) / len(logs)
        variance = math.fsum((each - mean) ** 2 for each in logs) / (len(logs) - 1)
        return Scatter(math.sqrt(variance / len(logs)), len(logs) - 1)
    half, seeds = number.get("half"), int(number.get("seeds") or 1)
    if not half:
        return Scatter(0.0, math.inf)
    from scipy.special import ndtri, stdtrit

    if seeds == 1:
        return Scatter(half / float(ndtri(0.5 + LEVEL / 2)), math.inf)
    # The interval is that of a run of twice as many requests beside the mean: see search.capacity.
    one = half / (float(stdtrit(seeds - 1, 0.5 + LEVEL / 2)) * math.sqrt(1 / seeds + 1 / CHECKING))
    return Scatter(one / math.sqrt(seeds), seeds - 1)


def noise(before: Mapping[str, Any], now: Mapping[str, Any], alpha: float) -> float:
    """Returns the factor, less one, that other seeds alone exceed up or down with a probability of `alpha`.

    Student's t on logarithms; the seeds of both nights are taken to scatter alike, since few of each are known.
    """
    one, other = scatter(before), scatter(now)
    error, freedom = math.hypot(one.error, other.error), min(one.freedom, other.freedom)
    if math.isfinite(one.freedom) and math.isfinite(other.freedom):
        freedom = one.freedom + other.freedom
        squares = [each.error**2 * (each.freedom + 1) for each in (one, other)]
        pooled = (squares[0] * one.freedom + squares[1] * other.freedom) / freedom
        error = math.sqrt(pooled * (1 / (one.freedom + 1) + 1 / (other.freedom + 1)))
    if not error:
        return 0.0
    from scipy.special import ndtri, stdtrit

    quantile = float(stdtrit(freedom, 1 - alpha / 2)) if math.isfinite(freedom) else float(ndtri(1 - alpha / 2))
    return math.expm1(min(quantile * error, 50.0))


def beyond(before: float, now: float, tolerance: float, factor: float = 0.0) -> bool:
    """Returns whether a change is larger than a relative tolerance and than a factor, less one, up or down."""
    moved = change(before, now)
    if abs(moved) <= tolerance:
        return False
    if not factor or before <= 0 or now <= 0:
        return True
    return abs(math.log(now / before)) > math.log1p(factor)


def change(before: float, now: float) -> float:
    """Returns the relative change; infinite where there was nothing."""
    if before == now:
        return 0.0
    return now / before - 1 if before else math.copysign(math.inf, now)


def better(kind: str, moved: float) -> bool | None:
    """Returns whether a change is for the better; None where that cannot be said."""
    if kind in LESS_IS_BETTER:
        return moved < 0
    return moved > 0 if kind in MORE_IS_BETTER else None
