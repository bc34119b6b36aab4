"""Frontier: which rows of objective values no other row beats, and which an interval does not rule out.

Rows are points, columns objectives. One row dominates another when it is nowhere worse and somewhere better. A row with
NaN in any column cannot be ranked and belongs to no result.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Direction = Literal["minimize", "maximize"]
_BLOCK = 256


def pareto(values: Floats, directions: Sequence[Direction]) -> Flags:
    """Returns member[n] of the Pareto set of values[n, d], exactly; equal rows are all members or none is.

    Up to three objectives take O(n log n) by a sweep (Kung, Luccio and Preparata, 1975), more take O(n x front).
    """
    costs = _costs(values, directions)
    member = _ranked(costs)
    ranked = costs[member]
    member[np.flatnonzero(member)] = ~_self_dominated_sweep(ranked) if costs.shape[1] <= 3 else _filter(ranked)
    return member


def ties(value: Floats, low: Floats, high: Floats, direction: Direction) -> Flags:
    """Returns tied[n]: whether [low[n], high[n]] overlaps the interval of a row with the best value[n]; the best ties too."""
    ranked = ~(np.isnan(value) | np.isnan(low) | np.isnan(high))
    if not ranked.any():
        return ranked
    best = np.min(value[ranked]) if direction == "minimize" else np.max(value[ranked])
    winners = ranked & (value == best)
    overlaps: Flags = ranked & (low <= np.max(high[winners])) & (high >= np.min(low[winners]))
    return overlaps


def not_ruled_out(low: Floats, high: Floats, directions: Sequence[Direction]) -> Flags:
    """Returns open[n]: whether no other row's pessimistic values dominate this row's optimistic ones.

    low[n, d] <= high[n, d] bound the values; for a minimized objective `low` is the optimistic end. What is not open lies
    outside the Pareto set wherever in their intervals the true values are.
    """
    lower, upper = _costs(low, directions), _costs(high, directions)
    optimistic, pessimistic = np.minimum(lower, upper), np.maximum(lower, upper)
    ranked = _ranked(optimistic) & _ranked(pessimistic)
    is_open: Flags = ranked.copy()
    if optimistic.shape[1] <= 3:
        is_open[ranked] = ~_dominated_sweep(optimistic[ranked], pessimistic[ranked])
        return is_open
    # Whatever a row dominates, a member of the front of pessimistic values dominates too.
    front = pessimistic[ranked][_filter(pessimistic[ranked])]
    rows = np.flatnonzero(ranked)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        is_open[block] = ~_dominated(optimistic[block], front)
    return is_open


def _costs(values: Floats, directions: Sequence[Direction]) -> Floats:
    """Returns the values with maximized columns negated, so that less is better everywhere."""
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] != len(directions):
        raise ValueError(f"values of shape {matrix.shape} need one direction per column, not {len(directions)}")
    costs: Floats = matrix * np.array([1.0 if direction == "minimize" else -1.0 for direction in directions])
    return costs


def _ranked(costs: Floats) -> Flags:
    """Returns whether each row is free of NaN."""
    flags: Flags = np.logical_not(np.isnan(costs).any(axis=1))
    return flags


def _dominated_sweep(rows: Floats, by: Floats) -> Flags:
    """Returns whether each row of up to three columns is dominated by a row of `by`."""
    events = np.zeros((len(by) + len(rows), 3))
    events[:, : rows.shape[1]] = np.concatenate([by, rows])
    asks = np.arange(len(events)) >= len(by)
    # Of rows with an equal first column those of `by` come first.
    order = np.lexsort((events[:, 2], events[:, 1], asks, events[:, 0]))
    return _sweep(events, order, asks, ~asks)[len(by) :]


def _self_dominated_sweep(rows: Floats) -> Flags:
    """Returns whether each row of up to three columns is dominated by another."""
    events = np.zeros((len(rows), 3))
    events[:, : rows.shape[1]] = rows
    # In lexicographic order no row dominates an earlier one, so that one pass both asks and counts.
    every = np.ones(len(events), dtype=np.bool_)
    return _sweep(events, np.lexsort(events.T[::-1]), every, every)


def _sweep(events: Floats, order: NDArray[np.intp], asks: Flags, counts: Flags) -> Flags:
    """Returns whether each row that asks is dominated by one that counts and that comes before it in `order`.

    The rows passed so far are no worse in the first column. Of those that count a staircase is kept in the other two: second
    rising, third falling. The last stair at or before a row's second column has the lowest third, and among equal stairs the
    lowest first: it dominates the row if any does.
    """
    dominated = np.zeros(len(events), dtype=np.bool_)
    ys: list[float] = []
    zs: list[float] = []
    xs: list[float] = []
    for row, ask, count, (x, y, z) in zip(
        order.tolist(), asks[order].tolist(), counts[order].tolist(), events[order].tolist(), strict=True
    ):
        stair = bisect_right(ys, y) - 1
        if stair >= 0 and zs[stair] <= z:
            dominated[row] = ask and (zs[stair] < z or ys[stair] < y or xs[stair] < x)
        elif count:
            start = end = bisect_left(ys, y)
            while end < len(zs) and zs[end] >= z:
                end += 1
            ys[start:end], zs[start:end], xs[start:end] = [y], [z], [x]
    return dominated


def _filter(rows: Floats) -> Flags:
    """Returns the members of the Pareto set of rows of any number of columns, block by block."""
    unique, inverse = np.unique(rows, axis=0, return_inverse=True)
    kept = np.zeros(len(unique), dtype=np.bool_)
    # In lexicographic order no row dominates an earlier one, so that a block meets the members so far and itself only.
    for start in range(0, len(unique), _BLOCK):
        block = unique[start : start + _BLOCK]
        left = np.flatnonzero(~_dominated(block, unique[:start][kept[:start]]))
        left = left[~_dominated(block[left], block[left])]
        kept[start + left] = True
    members: Flags = kept[inverse.reshape(-1)]
    return members


def _dominated(rows: Floats, by: Floats) -> Flags:
    """Returns whether each row is dominated by a row of `by`, comparing all pairs column by column."""
    no_worse = np.ones((len(rows), len(by)), dtype=np.bool_)
    better = np.zeros_like(no_worse)
    for column in range(rows.shape[1]):
        left, right = by[None, :, column], rows[:, column, None]
        no_worse &= left <= right
        better |= left < right
    dominated: Flags = np.any(no_worse & better, axis=1)
    return dominated
