"""Recorded traffic: one file format a module, found by its columns; the module's name is the format's name.

The contract of a format (`Format`): `matches` says from the column names alone whether a file is of the format, so that
no two formats match the same file. `parse` gets every row as it was written and returns all of them as a Trace, in order
of arrival; it raises InputError with the line for a row that is wrong. It drops nothing: leaving out rows of zero tokens,
counting them, reading the columns `class` and `session` that a file of any format may have, and naming the format are
`reader.read`'s, which is the only door. Modules whose name starts with an underscore are shared by the formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from simulator.traces._table import Table

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Trace:
    """Recorded requests in order of arrival; the arrays are of length n and must not be written to.

    arrival_s[n] is in seconds on the format's clock and does not fall; None when only lengths were recorded.
    prompt_tokens[n] and output_tokens[n] are at least 1 once read. priority[n]: the lower goes first. class_of[n] is a
    number into class_names, session[n] that of the session, -1 for none, row[n] that of the data row, from 0.
    block_ids, where recorded, has the ids of the blocks of each request: equal ids are equal tokens after equal tokens.
    They are the blocks of block_tokens tokens of its prompt, the last one part-filled or not; where block_tokens is None,
    all that its prompt and output fill in blocks of the deployment's block_size.
    rows counts the data rows of the file, dropped those left out, by reason; notes says both and more in words.
    """

    arrival_s: Floats | None
    prompt_tokens: Ints
    output_tokens: Ints
    priority: Ints
    class_of: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    class_names: tuple[str, ...] = ("all",)
    session: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    row: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    block_ids: tuple[Ints, ...] | None = None
    block_tokens: int | None = None
    format: str = ""
    rows: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.prompt_tokens)
        defaults = {"class_of": np.zeros(count, np.int64), "session": np.full(count, -1, np.int64), "row": np.arange(count)}
        for name, default in defaults.items():
            if not len(getattr(self, name)):
                object.__setattr__(self, name, default)

    def __len__(self) -> int:
        """Returns n, the requests that are kept."""
        return len(self.prompt_tokens)


class Format(Protocol):
    """What a module of this folder provides."""

    NEEDS: str

    def matches(self, columns: frozenset[str]) -> bool:
        """Returns whether a file with these columns is of this format."""

    def parse(self, table: Table) -> Trace:
        """Returns every row of the table; raises InputError with the line of the first wrong one."""
