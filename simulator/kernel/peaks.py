"""The largest inter-token gap since a given step, in O(log n): a queue of steps whose gaps fall strictly.

A gap that a later one reaches can never again be the largest since anything, so it leaves the queue. peak_steps and
peak_gaps are rings, as long as the longest output, since nobody asks about a step before the birth of a living decode.
"""

from __future__ import annotations

from typing import Any

from simulator.kernel.jit import merged


@merged
def push(world: Any, r: int, step: int, gap: float) -> None:
    """Appends the gap of a step."""
    replica = world.replicas[r]
    mask = world.peak_steps.shape[1] - 1
    while replica.peaks_end > replica.peaks_first and world.peak_gaps[r, (replica.peaks_end - 1) & mask] <= gap:
        replica.peaks_end -= 1
    if replica.peaks_end - replica.peaks_first > mask:
        replica.peaks_first += 1
    world.peak_steps[r, replica.peaks_end & mask] = step
    world.peak_gaps[r, replica.peaks_end & mask] = gap
    replica.peaks_end += 1


@merged
def largest_since(world: Any, r: int, step: int) -> float:
    """Returns the largest gap of the steps from `step` on, 0 when there is none."""
    replica = world.replicas[r]
    mask = world.peak_steps.shape[1] - 1
    low, high = replica.peaks_first, replica.peaks_end
    while low < high:
        middle = (low + high) // 2
        if world.peak_steps[r, middle & mask] < step:
            low = middle + 1
        else:
            high = middle
    return float(world.peak_gaps[r, low & mask]) if low < replica.peaks_end else 0.0
