"""Mooncake's JSON Lines (kvcache-ai/Mooncake, also read by AIPerf): milliseconds, and hashes of 512-token blocks.

The recorded traces of Mooncake have their timestamps on a grid of 3 s, give or take a few milliseconds.
"""

from __future__ import annotations

from simulator.traces import Trace
from simulator.traces._hashes import with_hashes
from simulator.traces._steps import in_steps, spread
from simulator.traces._table import Table

NEEDS = "timestamp in milliseconds, input_length, output_length, optionally hash_ids (JSON Lines)"
COLUMNS = frozenset({"timestamp", "input_length", "output_length"})
# Bailian traces have the same names, with seconds and blocks of 16 tokens.
OTHERS = frozenset({"chat_id", "parent_chat_id"})
BLOCK_TOKENS = 512
GRID_MS = 3000.0
GRID_TOLERANCE_MS = 10.0


def matches(columns: frozenset[str]) -> bool:
    """Returns whether a file with these columns is a Mooncake trace."""
    return columns >= COLUMNS and not columns & OTHERS


def parse(table: Table) -> Trace:
    """Returns the requests with arrival times in seconds, spread where the stamps lie on the 3 s grid."""
    stamps = table.clock("timestamp", "a number of milliseconds, 0 or more")
    coarse = in_steps(stamps, GRID_MS, GRID_TOLERANCE_MS)
    note = f"{table.name}: timestamps lie on a grid of {GRID_MS / 1000:g} s; requests are spread evenly inside each step"
    trace = Trace(
        arrival_s=(spread(stamps, GRID_MS) if coarse else stamps) / 1000,
        prompt_tokens=table.tokens("input_length"),
        output_tokens=table.tokens("output_length"),
        priority=table.priority(),
        notes=(note,) if coarse else (),
    )
    return with_hashes(trace, table, BLOCK_TOKENS)
