"""Clocks: arrival times drawn by a process, and the rate of recorded ones.

A rate is the inverse of the mean gap: (n - 1) / (last arrival - first arrival).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.arrivals import generating, process
from simulator.draw.streams import stream
from simulator.errors import InputError
from simulator.spec.workload import Arrival

Floats = NDArray[np.float64]


def generated(arrival: Arrival, count: int, seed: int, exact: bool) -> Floats:
    """Returns arrival times from 0 with gaps of mean 1, which their own mean is where `exact`."""
    found = process(arrival)
    if found.RECORDED:
        allowed = f"{', '.join(generating())}; there is no trace to replay"
        raise InputError("workload.arrival.process", arrival.process, allowed)
    rng = stream(seed, "arrivals")
    gaps = found.gaps(count - 1, arrival.cv, rng)
    return np.concatenate([[0.0], np.cumsum(to_mean(gaps, 1.0, rng) if exact else gaps)])


def to_mean(gaps: Floats, mean: float, rng: np.random.Generator) -> Floats:
    """Returns the gaps scaled so that their mean is exactly `mean`."""
    if not gaps.size:
        return gaps
    longest = gaps.max()
    if longest == 0:
        # What very bursty gaps tend to: all arrive together before or after one silence.
        scaled = np.zeros(len(gaps))
        scaled[rng.integers(len(gaps))] = 1.0
    else:
        scaled = gaps / longest
    return scaled * (mean * len(gaps) / float(scaled.sum()))


def rate_of(clock: Floats | None, rows: int | None) -> float | None:
    """Returns the mean rate of the first rows, or of the whole clock where those arrive at once; None where all do."""
    for taken in () if clock is None else (clock[:rows], clock):
        span = float(taken[-1] - taken[0])
        if span > 0:
            return (len(taken) - 1) / span
    return None
