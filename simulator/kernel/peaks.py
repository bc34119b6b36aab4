"""The largest inter-token gap since a given step of a lane, in O(log n): a queue of steps whose gaps fall strictly.

A gap that a later one reaches can never again be the largest since anything, so it leaves the queue. The queue is a ring,
longer than the longest output, since nobody asks about a step before the birth of a living decode.
"""

from __future__ import annotations

from typing import Any

from simulator.kernel.jit import merged


@merged
def push(world: Any, g: int, step: int, gap: float) -> None:
    """Appends the gap of a step of lane `g`."""
    lane = world.lanes[g]
    mask = world.config[0].ring - 1
    while lane.peaks_end > lane.peaks_first and world.peaks[g, (lane.peaks_end - 1) & mask].gap <= gap:
        lane.peaks_end -= 1
    if lane.peaks_end - lane.peaks_first > mask:
        lane.peaks_first += 1
    world.peaks[g, lane.peaks_end & mask].step = step
    world.peaks[g, lane.peaks_end & mask].gap = gap
    lane.peaks_end += 1


@merged
def largest_since(world: Any, g: int, step: int) -> float:
    """Returns the largest gap of lane `g` from `step` on, 0 when there is none."""
    lane = world.lanes[g]
    mask = world.config[0].ring - 1
    low, high = lane.peaks_first, lane.peaks_end
    while low < high:
        middle = (low + high) // 2
        if world.peaks[g, middle & mask].step < step:
            low = middle + 1
        else:
            high = middle
    return float(world.peaks[g, low & mask].gap) if low < lane.peaks_end else 0.0
