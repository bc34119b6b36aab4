"""Vidur's and Sarathi-Serve's CSV, and the one that `trimtab simulate --requests` writes.

Beside Vidur's columns a file may have `priority` and `block_ids`: the ids of the blocks that the request's prompt and output
fill, in order, as ranges (`0-3 17`). Without arrival times it is a record of lengths alone.
"""

from __future__ import annotations

from itertools import chain

from simulator.traces import Trace
from simulator.traces._table import Table

NEEDS = "num_prefill_tokens, num_decode_tokens and, for arrival times, arrived_at (CSV)"
COLUMNS = frozenset({"num_prefill_tokens", "num_decode_tokens"})
CLOCKS = ("arrived_at", "arrived_at_s")
MOST_BLOCKS = 2**24


def matches(columns: frozenset[str]) -> bool:
    """Returns whether a file with these columns is in Vidur's form."""
    return columns >= COLUMNS


def parse(table: Table) -> Trace:
    """Returns the requests with arrival times in seconds as they are written."""
    clock = next((column for column in CLOCKS if column in table.columns), None)
    blocks = "block_ids" in table.columns
    return Trace(
        arrival_s=table.clock(clock) if clock else None,
        prompt_tokens=table.tokens("num_prefill_tokens"),
        output_tokens=table.tokens("num_decode_tokens"),
        priority=table.priority(),
        block_ids=table.blocks("block_ids", _ranges, "block numbers and rising ranges of them, as 0-3 17") if blocks else None,
    )


def _ranges(text: str) -> list[int]:
    ranges: list[range] = []
    for part in text.split():
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(part)
        ranges.append(range(int(first), int(last if dash else first) + 1))
    # A mistyped range could ask for more memory than there is.
    if any(not span for span in ranges) or sum(map(len, ranges)) > MOST_BLOCKS:
        raise ValueError(text)
    return list(chain.from_iterable(ranges))
