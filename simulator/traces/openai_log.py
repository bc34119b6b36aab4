"""Logs of OpenAI-style answers: `created` in seconds of the epoch and `usage`, nested (JSON Lines) or as columns (CSV).

Rows are in the order in which they were written, which is that of the answers' ends, and so are put in order of time.
An answer without a usage, as an error is, counts as one of zero tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from simulator.traces import Trace
from simulator.traces._steps import in_steps, spread
from simulator.traces._table import Table

NEEDS = "created, usage with prompt_tokens and completion_tokens (or input_tokens and output_tokens; JSON Lines or CSV)"
TOKENS = (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))
USAGE = "usage"
EPOCH = "seconds since 1970, 0 or more"


def matches(columns: frozenset[str]) -> bool:
    """Returns whether a file with these columns is such a log."""
    flat = all(any(f"{USAGE}.{name}" in columns for name in names) for names in TOKENS)
    return "created" in columns and (USAGE in columns or flat)


def parse(table: Table) -> Trace:
    """Returns the requests with seconds from the first of them, those of one whole second spread evenly over it."""
    times = table.numbers("created", EPOCH)
    table.refuse(times < 0, "created", EPOCH)
    order = np.argsort(times, kind="stable")
    stamps = times[order] - times.min()
    coarse = in_steps(times, 1.0)
    note = f"{table.name}: created is in whole seconds; requests are spread evenly inside each of them"
    prompt, output = (table_of.tokens(name)[order] for table_of, name in (_side(table, names) for names in TOKENS))
    return Trace(
        arrival_s=spread(stamps, 1.0) if coarse else stamps,
        prompt_tokens=prompt,
        output_tokens=output,
        priority=table.priority()[order],
        row=order,
        notes=(note,) if coarse else (),
    )


def _side(table: Table, names: tuple[str, str]) -> tuple[Table, str]:
    """Returns a table that has one side's tokens as a column, and the name of that column."""
    flat = next((name for name in names if f"{USAGE}.{name}" in table.columns), None)
    if flat is not None:
        return table, f"{USAGE}.{flat}"
    column = f"{USAGE}.{names[0]}"
    values = [_found(table, row, names) for row in range(len(table))]
    return replace(table, columns={**table.columns, column: values}), column


def _found(table: Table, row: int, names: tuple[str, str]) -> Any:
    usage = table.columns[USAGE][row]
    if usage is None:
        return 0
    if not isinstance(usage, Mapping):
        raise table.wrong(row, USAGE, "an object with prompt_tokens and completion_tokens")
    return next((usage[name] for name in names if name in usage), None)
