"""A trace under the names that scenarios have: `prompt_tokens`, `output_tokens`, `arrival_s`; what one writes by hand."""

from __future__ import annotations

from simulator.traces import Trace
from simulator.traces._table import Table

NEEDS = "prompt_tokens, output_tokens and, for arrival times, arrival_s in seconds (CSV or JSON Lines)"
COLUMNS = frozenset({"prompt_tokens", "output_tokens"})
CLOCK = "arrival_s"


def matches(columns: frozenset[str]) -> bool:
    """Returns whether a file with these columns is in this form."""
    return columns >= COLUMNS


def parse(table: Table) -> Trace:
    """Returns the requests with arrival times as they are written; without them it is a record of lengths alone."""
    return Trace(
        arrival_s=table.clock(CLOCK) if CLOCK in table.columns else None,
        prompt_tokens=table.tokens("prompt_tokens"),
        output_tokens=table.tokens("output_tokens"),
        priority=table.priority(),
    )
