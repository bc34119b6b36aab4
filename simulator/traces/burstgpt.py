"""BurstGPT's CSV (HPMLL/BurstGPT): seconds; release 3 has a session for conversations. A response of 0 tokens failed."""

from __future__ import annotations

from dataclasses import replace

from simulator.traces import Trace
from simulator.traces._table import Table

NEEDS = "Timestamp, Request tokens, Response tokens (CSV)"
COLUMNS = frozenset({"Timestamp", "Request tokens", "Response tokens"})
SESSION = "Session ID"


def matches(columns: frozenset[str]) -> bool:
    """Returns whether a file with these columns is a BurstGPT trace."""
    return columns >= COLUMNS


def parse(table: Table) -> Trace:
    """Returns the requests with arrival times in seconds as they are written."""
    trace = Trace(
        arrival_s=table.clock("Timestamp"),
        prompt_tokens=table.tokens("Request tokens"),
        output_tokens=table.tokens("Response tokens"),
        priority=table.priority(),
    )
    return replace(trace, session=table.numbered(SESSION)[0]) if SESSION in table.columns else trace
