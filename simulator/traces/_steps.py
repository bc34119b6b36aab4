"""Clocks that tick in steps: the requests of one stamp arrived somewhere in the step after it.

Replayed as they stand they would be bursts that never happened, so they are spread evenly over the step.
"""

from __future__ import annotations

import numpy as np

from simulator.traces import Floats


def in_steps(stamps: Floats, step: float, tolerance: float = 0.0) -> bool:
    """Returns whether the stamps are multiples of a step, give or take, and some of them are equal."""
    off = np.abs(stamps - step * np.round(stamps / step))
    distinct = len(np.unique(stamps))
    return bool((off <= tolerance).all()) and 1 < distinct < len(stamps)


def spread(stamps: Floats, step: float) -> Floats:
    """Returns stamps moved forward: the i-th of k requests of a stamp by i/k of the way to the next one, one step at most."""
    distinct, group, counts = np.unique(stamps, return_inverse=True, return_counts=True)
    steps = np.minimum(np.diff(distinct, append=np.inf), step)
    place = np.arange(len(stamps)) - (np.cumsum(counts) - counts)[group]
    return np.asarray(stamps + steps[group] * place / counts[group], np.float64)
