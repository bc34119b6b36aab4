"""The frontier by its laws, against the definition written out in full."""

import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from search.frontier import Direction, not_ruled_out, pareto, ties

Floats = NDArray[np.float64]
# Few distinct numbers, so that equal columns, equal rows and NaN are common.
CELLS = st.sampled_from([-2.0, -0.0, 0.0, 1.0, 1.5, 7.0, float("inf"), float("nan")])


@st.composite
def tables(draw: st.DrawFn) -> tuple[Floats, list[Direction]]:
    """Returns up to 40 rows of one to five objectives, and their directions."""
    columns = draw(st.integers(1, 5))
    rows = draw(st.integers(0, 40))
    directions: list[Direction] = draw(st.lists(st.sampled_from(["minimize", "maximize"]), min_size=columns, max_size=columns))
    return draw(arrays(np.float64, (rows, columns), elements=CELLS)), directions


def dominates(a: Floats, b: Floats, directions: Sequence[Direction]) -> bool:
    """Returns whether row a is nowhere worse and somewhere better than row b."""
    signs = np.array([1 if direction == "minimize" else -1 for direction in directions])
    return bool(np.all(a * signs <= b * signs) and np.any(a * signs < b * signs))


@given(tables())
def test_members_are_the_rows_that_nothing_dominates(table: tuple[Floats, list[Direction]]) -> None:
    values, directions = table
    member = pareto(values, directions)
    ranked = [row for row in range(len(values)) if not np.isnan(values[row]).any()]
    for row in range(len(values)):
        beaten = any(dominates(values[other], values[row], directions) for other in ranked)
        assert member[row] == (row in ranked and not beaten)
        if row in ranked and beaten:
            assert any(dominates(values[other], values[row], directions) for other in np.flatnonzero(member))


@given(tables(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(table: tuple[Floats, list[Direction]], random: object) -> None:
    values, directions = table
    order = np.random.default_rng(len(values)).permutation(len(values))
    assert np.array_equal(pareto(values[order], directions), pareto(values, directions)[order])


@given(tables())
def test_rising_transforms_do_not_matter(table: tuple[Floats, list[Direction]]) -> None:
    values, directions = table
    assert np.array_equal(pareto(np.arctan(values) * 3 + 1, directions), pareto(values, directions))


def test_the_general_filter_agrees_with_the_sweep_beyond_one_block() -> None:
    values = np.random.default_rng(1).integers(0, 30, (2000, 3)).astype(np.float64)
    four = np.column_stack([values, np.zeros(len(values))])
    assert np.array_equal(pareto(four, ["minimize"] * 4), pareto(values, ["minimize"] * 3))


def test_equal_rows_are_all_members_and_none_is_left_out() -> None:
    values = np.array([[1, 2], [1, 2], [2, 1], [2, 2], [None, 0]], dtype=np.float64)
    assert pareto(values, ["minimize", "minimize"]).tolist() == [True, True, True, False, False]
    assert pareto(values, ["minimize", "maximize"]).tolist() == [True, True, False, False, False]


def test_a_missing_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="one direction per column"):
        pareto(np.zeros((3, 2)), ["minimize"])


@pytest.mark.parametrize("shape", ["cloud", "all members"])
def test_ten_thousand_points_of_three_objectives_take_under_a_tenth_of_a_second(shape: str) -> None:
    values = np.random.default_rng(0).random((10_000, 3))
    if shape == "all members":
        values[:, 2] = -values[:, 0] - values[:, 1]
    seconds = []
    for _ in range(3):
        start = time.process_time()
        member = pareto(values, ["minimize"] * 3)
        seconds.append(time.process_time() - start)
    assert member.all() == (shape == "all members")
    assert min(seconds) < 0.1


def test_ties_are_the_rows_whose_interval_overlaps_that_of_the_best() -> None:
    value = np.array([3.0, 3.2, 4.0, 2.9, np.nan])
    low = np.array([2.8, 3.1, 3.5, 2.7, 0.0])
    high = np.array([3.2, 3.4, 4.5, 3.1, 9.0])
    assert ties(value, low, high, "minimize").tolist() == [True, True, False, True, False]
    assert ties(value, low, high, "maximize").tolist() == [False, False, True, False, False]


def test_ties_of_nothing_ranked_are_none() -> None:
    empty = np.array([np.nan, np.nan])
    assert not ties(empty, empty, empty, "minimize").any()


@settings(max_examples=60)
@given(tables(), st.integers(0, 2**31))
def test_what_is_ruled_out_is_off_the_frontier_wherever_the_truth_lies(table: tuple[Floats, list[Direction]], seed: int) -> None:
    values, directions = table
    generator = np.random.default_rng(seed)
    values = np.where(np.isinf(values), 9.0, values)
    low, high = values - generator.random(values.shape), values + generator.random(values.shape)
    kept = not_ruled_out(low, high, directions)
    for _ in range(3):
        truth = low + generator.random(values.shape) * (high - low)
        assert not np.any(pareto(truth, directions) & ~kept)


@given(tables())
def test_exact_intervals_rule_out_all_but_the_frontier(table: tuple[Floats, list[Direction]]) -> None:
    values, directions = table
    assert np.array_equal(not_ruled_out(values, values, directions), pareto(values, directions))


@given(tables(), st.integers(0, 2**31))
def test_a_row_is_ruled_out_only_by_a_pessimistic_row_that_dominates_its_optimistic_one(
    table: tuple[Floats, list[Direction]], seed: int
) -> None:
    values, directions = table
    values = np.where(np.isinf(values), 9.0, values)
    width = np.random.default_rng(seed).integers(0, 3, values.shape)
    low, high = values - width, values + width
    good = np.array([direction == "minimize" for direction in directions])
    best, worst = np.where(good, low, high), np.where(good, high, low)
    ranked = [row for row in range(len(values)) if not np.isnan(values[row]).any()]
    expected = [row in ranked and not any(dominates(worst[o], best[row], directions) for o in ranked) for row in range(len(values))]
    assert not_ruled_out(low, high, directions).tolist() == expected
