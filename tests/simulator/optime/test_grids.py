"""Interpolation: exact on the grid, between its neighbours inside, the edge's ratio held outside, no gap left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.optime.grids import across, along, at_least, filled, kinds_of, locate
from simulator.optime.provenance import EXTRAPOLATED, INTERPOLATED, MEASURED, ROOFLINE

LINES = np.array([1, 2, 8, 64, 100])
RATIO = np.log(np.array([5.0, 4.0, 2.0, 1.5, 1.8]))


def test_a_point_on_the_grid_is_the_measured_one() -> None:
    axis = locate(LINES, LINES)
    assert along(axis, RATIO).tolist() == RATIO.tolist()
    assert kinds_of(axis).tolist() == [MEASURED] * 5


def test_outside_the_edge_is_held() -> None:
    axis = locate(LINES, np.array([0.25, 1000.0]))
    assert along(axis, RATIO).tolist() == [RATIO[0], RATIO[-1]]
    assert kinds_of(axis).tolist() == [EXTRAPOLATED] * 2


def test_half_way_is_by_logarithm() -> None:
    axis = locate(LINES, np.array([4]))
    assert np.exp(along(axis, RATIO)) == pytest.approx(np.sqrt(4.0 * 2.0))
    assert kinds_of(axis).tolist() == [INTERPOLATED]


@given(st.floats(1, 100))
def test_inside_the_value_lies_between_its_neighbours(value: float) -> None:
    axis = locate(LINES, np.array([value]))
    low, high = sorted((RATIO[axis.low[0]], RATIO[axis.high[0]]))
    assert low - 1e-12 <= along(axis, RATIO)[0] <= high + 1e-12
    assert LINES[axis.low[0]] <= value <= LINES[axis.high[0]]


def test_on_two_axes_one_exact_axis_leaves_the_other_alone() -> None:
    table = RATIO[:, None] + np.array([0.0, 1.0, 3.0])[None, :]
    rows, columns = locate(LINES, np.array([4])), locate(np.array([1, 10, 100]), np.array([10]))
    assert across(rows, columns, table) == pytest.approx(along(rows, RATIO) + 1.0)
    assert kinds_of(rows, columns).tolist() == [INTERPOLATED]


def test_gaps_take_the_value_below() -> None:
    nan = np.nan
    table, gaps = filled(np.array([[1.0, 2.0, nan], [3.0, nan, nan]]))
    assert table.tolist() == [[1.0, 2.0, 2.0], [3.0, 3.0, 3.0]]
    assert gaps.tolist() == [[False, False, True], [False, True, True]]
    with pytest.raises(ValueError, match="cannot be filled"):
        filled(np.array([[nan, 1.0]]))


def test_nothing_is_faster_than_its_roofline() -> None:
    kinds = np.array([MEASURED, MEASURED], dtype=np.int8)
    priced = at_least(np.array([1.0, 3.0]), np.array([2.0, 2.0]), kinds)
    assert priced.seconds.tolist() == [2.0, 3.0]
    assert priced.kinds.tolist() == [ROOFLINE, MEASURED]
