"""The rows of a trace file as they were written, and the checks that every format makes on them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.errors import InputError
from simulator.traces import Floats, Ints

MOST_TOKENS = 2**31 - 1
# No format comes near it, and a row of each would be as wide as all together.
MOST_COLUMNS = 1000
TOKENS = "a whole number of tokens, 0 or more"
SECONDS = "a number of seconds, 0 or more"


@dataclass(frozen=True)
class Table:
    """Values by column, with the line of each row in the file, counted from 1 with the header."""

    name: str
    field: str
    columns: dict[str, Sequence[Any]]
    lines: Sequence[int]

    def __len__(self) -> int:
        return len(self.lines)

    def wrong(self, row: int, column: str, allowed: str) -> InputError:
        """Returns the error for the value of `column` in a row, which it names by its line."""
        where = f"{self.field} ({self.name} line {self.lines[row]}, column {column})"
        return InputError(where, self.columns[column][row], allowed)

    def numbers(self, column: str, allowed: str) -> Floats:
        """Returns a column as finite numbers, float64[rows]."""
        values = self.columns[column]
        try:
            if bool in set(map(type, values)):
                raise TypeError
            numbers = np.fromiter(map(float, values), np.float64, len(values))
        except (TypeError, ValueError, OverflowError):
            raise self.wrong(next(row for row, value in enumerate(values) if not _is_number(value)), column, allowed) from None
        self.refuse(~np.isfinite(numbers), column, allowed)
        return numbers

    def tokens(self, column: str) -> Ints:
        """Returns a column of token counts, int64[rows], zeros included."""
        numbers = self.numbers(column, TOKENS)
        self.refuse((numbers < 0) | (numbers != np.floor(numbers)), column, TOKENS)
        self.refuse(numbers > MOST_TOKENS, column, f"at most {MOST_TOKENS:,} tokens")
        return numbers.astype(np.int64)

    def clock(self, column: str, allowed: str = SECONDS) -> Floats:
        """Returns a column of times in the file's unit, float64[rows], which do not fall and are not negative."""
        times = self.numbers(column, allowed)
        self.refuse(times < 0, column, allowed)
        self.in_order(times, column)
        return times

    def in_order(self, times: np.ndarray[Any, Any], column: str) -> None:
        """Refuses the first row whose time is before that of the row above it."""
        back = np.flatnonzero(times[1:] < times[:-1])
        if back.size:
            before = self.columns[column][int(back[0])]
            allowed = f"the time of the row before ({before}) or a later one, since rows are in order of arrival"
            raise self.wrong(int(back[0]) + 1, column, allowed)

    def priority(self) -> Ints:
        """Returns the optional column `priority`, int64[rows]; 0 where there is none."""
        if "priority" not in self.columns:
            return np.zeros(len(self), np.int64)
        allowed = "a whole number, the lower going first"
        numbers = self.numbers("priority", allowed)
        self.refuse((numbers != np.floor(numbers)) | (np.abs(numbers) > MOST_TOKENS), "priority", allowed)
        return numbers.astype(np.int64)

    def numbered(self, column: str) -> tuple[Ints, tuple[str, ...]]:
        """Returns the texts of a column as numbers, int64[rows], in order of appearance, and those texts; -1 for none."""
        texts = ["" if value is None else str(value).strip() for value in self.columns[column]]
        names = tuple(dict.fromkeys(text for text in texts if text))
        places = {name: place for place, name in enumerate(names)}
        return np.array([places.get(text, -1) for text in texts], np.int64), names

    def blocks(self, column: str, ids: Callable[[Any], list[int]], allowed: str) -> tuple[Ints, ...]:
        """Returns the block ids of each row, as `ids` reads them from a value or raises ValueError."""
        rows: list[Ints] = []
        for row, value in enumerate(self.columns[column]):
            try:
                rows.append(np.array(ids(value), np.int64))
            except (ValueError, OverflowError):
                raise self.wrong(row, column, allowed) from None
        return tuple(rows)

    def refuse(self, wrong: np.ndarray[Any, np.dtype[np.bool_]], column: str, allowed: str) -> None:
        """Raises InputError for the first row that is marked as wrong."""
        if wrong.any():
            raise self.wrong(int(np.argmax(wrong)), column, allowed)


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False
    return not isinstance(value, bool)


def from_csv(text: str, name: str, field: str) -> Table:
    """Returns the table of a CSV text, whose first line names the columns; blank lines are no rows."""
    reader = csv.reader(io.StringIO(text, newline=""))
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if not row:
                continue
            if not header:
                header = _header(row, name, field)
            elif len(row) != len(header):
                where = f"{field} ({name} line {reader.line_num})"
                raise InputError(where, ",".join(row), f"{len(header)} values, as many as the header has")
            else:
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise InputError(f"{field} ({name} line {reader.line_num})", str(error), "a row of CSV") from None
    values = zip(*rows, strict=True) if rows else ((),) * len(header)
    return Table(name, field, dict(zip(header, values, strict=True)), lines)


def _header(row: list[str], name: str, field: str) -> list[str]:
    header = [column.strip() for column in row]
    if len(header) > MOST_COLUMNS:
        raise InputError(f"{field} ({name} header)", f"{len(header):,} columns", f"at most {MOST_COLUMNS:,}")
    twice = next((column for column in header if header.count(column) > 1), None)
    if twice is not None:
        raise InputError(f"{field} ({name} header)", twice, "each column once")
    return header


def from_json_lines(text: str, name: str, field: str) -> Table:
    """Returns the table of JSON Lines, one object a line; a key that a row lacks is None there."""
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    known: set[str] = set()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise InputError(f"{field} ({name} line {number})", line.strip(), "one JSON object a line")
        known.update(row)
        if len(known) > MOST_COLUMNS:
            raise InputError(f"{field} ({name} line {number})", f"{len(known):,} keys", f"at most {MOST_COLUMNS:,} in all lines")
        rows.append(row)
        lines.append(number)
    names = sorted(known)
    return Table(name, field, {column: [row.get(column) for row in rows] for column in names}, lines)
