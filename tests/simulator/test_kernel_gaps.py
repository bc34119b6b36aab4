"""Bins of gaps and the longest gap since a step: small helpers of the loop, against the obvious."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.kernel import gaps, peaks
from simulator.kernel.records import CONFIG, LANE, PEAK


def interpreted(function: Any) -> Any:
    """Returns the Python function behind a compiled one."""
    return getattr(function, "py_func", function)


bin_of = interpreted(gaps.bin_of)


@given(st.floats(gaps.SMALLEST_S * 1.01, gaps.LARGEST_S * 0.99), st.floats(1, 1.1))
@settings(derandomize=True)
def test_gaps_of_one_bin_are_within_its_width(gap_s: float, factor: float) -> None:
    near = min(gap_s * factor, gaps.LARGEST_S * 0.99)
    assert 0 < bin_of(gap_s) <= bin_of(near) < gaps.BINS - 1
    if bin_of(gap_s) == bin_of(near):
        assert near / gap_s <= 1 + 2.0**-gaps.MANTISSA_BITS


def test_gaps_outside_the_range_are_in_the_first_and_the_last_bin() -> None:
    assert bin_of(-1.0) == bin_of(0.0) == bin_of(0.99 * gaps.SMALLEST_S) == 0
    assert bin_of(2 * gaps.LARGEST_S) == bin_of(1e300) == gaps.BINS - 1


@given(st.integers(1, gaps.BINS - 2))
@settings(derandomize=True)
def test_the_lower_edge_is_the_smallest_gap_of_a_bin(place: int) -> None:
    edge = interpreted(gaps.lower_edge)(place)
    assert bin_of(edge) == place and bin_of(np.nextafter(edge, 0)) == place - 1


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.4]) | st.floats(1e-6, 1), st.integers(1, 3)), max_size=60), st.data())
@settings(derandomize=True, deadline=None)
def test_the_longest_gap_since_a_step(steps: list[tuple[float, int]], data: st.DataObject) -> None:
    ring = 64
    config = np.zeros(1, dtype=CONFIG)
    config["ring"] = ring
    world = SimpleNamespace(
        config=config.view(np.recarray),
        lanes=np.zeros(1, dtype=LANE).view(np.recarray),
        peaks=np.zeros((1, ring), dtype=PEAK).view(np.recarray),
    )
    seen: list[tuple[int, float]] = []
    step = 0
    for gap, apart in steps:
        step += apart
        interpreted(peaks.push)(world, 0, step, gap)
        seen.append((step, gap))
        since = data.draw(st.integers(max(step - ring + 1, 0), step + 1), label="since")
        expected = max((g for s, g in seen if s >= since), default=0.0)
        assert interpreted(peaks.largest_since)(world, 0, since) == expected
