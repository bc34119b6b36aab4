"""Measured tables: operators found by their shapes, priced between, at and beyond the points that were measured.

- Between points the time is a line: between the steps of their tiles kernels are linear in their extents, and each step
  that was measured stays. Leaving points out, lines are nearer than logarithms or ratios to the roofline on every grid of
  vLLM's attention kernels that we have.
- Beyond the last point the time grows as the roofline does, so that the utilisation of the edge is held. Before the first
  one it is that of the first: launches and latencies do not shrink.
- Nothing is faster than the roofline, except what only moves activations, which may lie in the L2 cache in an engine too,
  and what decodes add to a chunk, which may hide behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from simulator.optime.attended import DecodeAttention
from simulator.optime.bound import bound
from simulator.optime.grids import Bools, across, along, at_least, kinds_of, locate_by_line
from simulator.optime.operators import Floats, Ints, Memory, Operator
from simulator.optime.provenance import EXTRAPOLATED, MEASURED, KindCodes, Priced
from simulator.optime.shapes import BY_TOKENS, MIXED_PAIRS, Key, Places, key_of, moved, places_of
from simulator.spec.device import Device


@dataclass(frozen=True, eq=False)
class Table:
    """seconds[g] over one rising extent, or seconds[r, c] over two; `gaps` were not measured and follow from neighbours.

    `repeated` counts the measurements of points that had one already. A table of zeros is that of an operator that was
    timed as a part of another one.
    """

    lines: tuple[Floats, ...]
    seconds: Floats
    gaps: Bools
    repeated: int = 0

    @classmethod
    def within(cls, extents: int) -> Table:
        """Returns the table of an operator that was timed as a part of another one and costs nothing more."""
        one = np.ones(1)
        return cls((one,) * extents, np.zeros((1,) * extents), np.zeros((1,) * extents, dtype=np.bool_))

    @cached_property
    def within_another(self) -> bool:
        """Whether the operator was timed as a part of another one."""
        return not self.seconds.any()

    @classmethod
    def of(cls, places: Sequence[Floats | Ints], seconds: Floats, least: bool = False) -> Table:
        """Returns the table of points in any order; gaps in a grid are filled (see `filled_in`).

        Of a point that was measured several times the mean counts, or with `least` the least.
        """
        lines, index = zip(*(np.unique(np.asarray(place, dtype=np.float64), return_inverse=True) for place in places), strict=True)
        shape = tuple(len(line) for line in lines)
        total, count, lowest = np.zeros(shape), np.zeros(shape), np.full(shape, np.inf)
        np.add.at(total, index, seconds)
        np.add.at(count, index, 1.0)
        np.minimum.at(lowest, index, seconds)
        gaps = count == 0
        points = np.where(gaps, np.nan, lowest if least else total / np.maximum(count, 1.0))
        repeated = int(count.sum() - np.count_nonzero(count))
        return cls(lines, filled_in(points, lines) if gaps.any() else points, gaps, repeated)

    def at(self, places: Places) -> tuple[Floats, KindCodes]:
        """Returns the seconds and kinds of points; outside, those of the nearest point of the edge."""
        axes = [locate_by_line(line, values) for line, values in zip(self.lines, places, strict=True)]
        kinds = kinds_of(*axes)
        if len(axes) == 1:
            return along(axes[0], self.seconds), kinds
        rows, columns = axes
        guessed = self.gaps[rows.high, columns.high] | self.gaps[rows.low, columns.low]
        return across(rows, columns, self.seconds), np.where(guessed, EXTRAPOLATED, kinds).astype(np.int8)


def filled_in(seconds: Floats, lines: Sequence[Floats]) -> Floats:
    """Returns seconds[r, c] with every gap on the line through the two points before it, along whichever extent gives more.

    With one point before it the time grows as the extent does; it is never less than at a neighbour before it. Gaps before
    the first measured points take the next one after them.
    """
    table = seconds.copy()
    for place in zip(*np.nonzero(np.isnan(seconds)), strict=True):
        guesses = [_continued(np.moveaxis(table, axis, -1)[place[1 - axis]], lines[axis], place[axis]) for axis in (0, 1)]
        table[place] = max((guess for guess in guesses if not np.isnan(guess)), default=np.nan)
    return _from_above(table)


def _continued(seconds: Floats, line: Floats, at: int) -> float:
    """Returns the time at a place of a line from what is known just before it; not a number where nothing is."""
    if at == 0 or np.isnan(seconds[at - 1]):
        return float("nan")
    before = float(seconds[at - 1])
    if at == 1 or np.isnan(seconds[at - 2]):
        return before * float(line[at] / line[at - 1]) if line[at - 1] > 0 else before
    slope = (before - float(seconds[at - 2])) / float(line[at - 1] - line[at - 2])
    return before + max(0.0, slope) * float(line[at] - line[at - 1])


def _from_above(table: Floats) -> Floats:
    """Returns the table with what is still missing, corners before the first measured point, as the nearest one after it."""
    for r in range(table.shape[0] - 1, -1, -1):
        for c in range(table.shape[1] - 1, -1, -1):
            if np.isnan(table[r, c]):
                after = [table[r, c + 1]] if c + 1 < table.shape[1] else []
                after += [table[r + 1, c]] if r + 1 < table.shape[0] else []
                known = [value for value in after if not np.isnan(value)]
                table[r, c] = min(known) if known else np.nan
    return table


@dataclass(frozen=True, eq=False)
class Tables:
    """An OperatorSource of tables by key, for one device; `software` is what was measured, by version."""

    device: Device
    tables: Mapping[Key, Table]
    software: Mapping[str, str]

    def price(self, operator: Operator) -> Priced | None:
        """Returns the seconds of every point, or None where no table has the operator's shape."""
        table = self.table(operator)
        if table is None:
            return None
        if table.within_another:
            return Priced.of(np.zeros(operator.tokens.shape), MEASURED)
        places = places_of(operator)
        seconds, kinds = table.at(places)
        seconds = seconds * self._growth(operator, table, places) + self._paired(operator)
        hidden = isinstance(operator, Memory) or (isinstance(operator, DecodeAttention) and operator.beside_chunk)
        least = None if hidden else bound(operator, self.device)
        return Priced(seconds, kinds) if least is None else at_least(seconds, least, kinds)

    def has(self, operator: Operator) -> bool:
        """Returns whether there is a table of exactly the operator's key."""
        return key_of(operator) in self.tables

    def table(self, operator: Operator) -> Table | None:
        """Returns the operator's table; decodes beside a chunk that were not measured are those alone."""
        key = key_of(operator)
        found = None if key is None else self.tables.get(key)
        if found is None and isinstance(operator, DecodeAttention) and operator.beside_chunk:
            return self.table(replace(operator, beside_chunk=0))
        return found

    def _paired(self, operator: Operator) -> Floats:
        """Returns what decodes add for every token of the chunk beside them: a line through nothing."""
        nothing = np.zeros(operator.tokens.shape)
        if not isinstance(operator, DecodeAttention) or not operator.beside_chunk:
            return nothing
        pairs = self.tables.get((MIXED_PAIRS, *(key_of(operator) or ())[1:]))
        if pairs is None:
            return nothing
        per_pair = float(pairs.seconds[-1] / pairs.lines[0][-1])
        return nothing + operator.batch * (operator.beside_chunk * per_pair)

    def _growth(self, operator: Operator, table: Table, places: Places) -> Floats:
        """Returns by how much the roofline beyond the table is above that of its edge, 1 inside; without one, the extents'."""
        edge = tuple(np.minimum(values, lines[-1]) for values, lines in zip(places, table.lines, strict=True))
        growth = np.ones(places[0].shape)
        for values, at in zip(places, edge, strict=True):
            growth *= np.where(values > at, values / np.maximum(at, 1.0), 1.0)
        beyond = growth > 1.0
        at_edge = moved(operator, edge) if beyond.any() else None
        if at_edge is None:
            return growth
        there, here = bound(operator, self.device), bound(at_edge, self.device)
        if there is None or here is None:
            return growth
        return np.where(beyond, np.maximum(there / here, 1.0), 1.0)

    def versions(self, operator: Operator) -> Mapping[str, str]:
        """Returns what was measured."""
        return self.software

    def token_knots(self) -> Ints:
        """Returns the token counts at which operators by tokens were measured."""
        return self._knots

    @cached_property
    def _knots(self) -> Ints:
        lines = [table.lines[0] for key, table in self.tables.items() if key[0] in BY_TOKENS]
        return np.unique(np.concatenate([np.empty(0), *lines])).astype(np.int64)
