"""Nearest-rank percentiles of values, and of values that are counted."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from simulator.spec.metrics import Distribution

Floats = NDArray[np.float64]
PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
NOTHING = Distribution(mean=None, p50=None, p90=None, p95=None, p99=None, max=None)


def nearest_rank(count: int, share: float) -> int:
    """Returns the zero-based place of a percentile among `count` sorted values: the smallest with enough at or below."""
    # The slack undoes the rounding of products such as 0.95 x 20, which would push the rank one too far.
    return max(math.ceil(share * count - 1e-9), 1) - 1


def distribution(values: Floats) -> Distribution:
    """Returns mean, nearest-rank percentiles and maximum of `values`."""
    return NOTHING if len(values) == 0 else of_sorted(np.sort(values), float(values.mean()))


def of_sorted(ordered: Floats, mean: float) -> Distribution:
    """Returns the distribution of values that are sorted already; there is one at least."""
    count = len(ordered)
    ranks = {name: float(ordered[nearest_rank(count, share)]) for name, share in PERCENTILES.items()}
    return Distribution(mean=mean, max=float(ordered[-1]), **ranks)


def counted(counts: NDArray[np.int64], first: int = 0) -> Distribution:
    """Returns the distribution of whole numbers, `first` and following ones, each of which came counts[n] times."""
    upto = np.cumsum(counts)
    total = int(upto[-1]) if len(upto) else 0
    if total == 0:
        return NOTHING
    ranks = {name: float(np.searchsorted(upto, nearest_rank(total, share) + 1) + first) for name, share in PERCENTILES.items()}
    mean = float(np.dot(counts, np.arange(first, first + len(counts))) / total)
    return Distribution(mean=mean, max=float(np.flatnonzero(counts)[-1] + first), **ranks)
