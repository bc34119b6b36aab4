"""Mooncake's JSON Lines (kvcache-ai/Mooncake, also read by AIPerf): milliseconds, and hashes of 512-token blocks.

The recorded traces of Mooncake have their timestamps on a grid of 3 s, give or take a few milliseconds: the requests of
one stamp arrived somewhere in the 3 s after it. Replayed as they stand they would be bursts that never happened, so
they are spread evenly over the step.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from simulator.traces import Floats, Trace
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
    coarse = _on_grid(stamps)
    note = f"{table.name}: timestamps lie on a grid of {GRID_MS / 1000:g} s; requests are spread evenly inside each step"
    trace = Trace(
        arrival_s=(_spread(stamps) if coarse else stamps) / 1000,
        prompt_tokens=table.tokens("input_length"),
        output_tokens=table.tokens("output_length"),
        priority=table.priority(),
        notes=(note,) if coarse else (),
    )
    return _with_blocks(trace, table) if "hash_ids" in table.columns else trace


def _with_blocks(trace: Trace, table: Table) -> Trace:
    blocks = table.blocks("hash_ids", _ids, "a list of block numbers")
    # Hashes of blocks of another size would misplace every shared prefix.
    needed = -(-trace.prompt_tokens // BLOCK_TOKENS)
    if any(len(ids) != count for ids, count in zip(blocks, needed.tolist(), strict=True)):
        note = f"{table.name}: hash_ids are left out, since they are not one for each {BLOCK_TOKENS} tokens of the prompt"
        return replace(trace, notes=(*trace.notes, note))
    return replace(trace, block_ids=blocks, block_tokens=BLOCK_TOKENS)


def _ids(value: Any) -> list[int]:
    ids: list[int] = [] if value is None else value
    if not isinstance(ids, list) or not set(map(type, ids)) <= {int} or (ids and min(ids) < 0):
        raise ValueError(value)
    return ids


def _on_grid(stamps: Floats) -> bool:
    off = np.abs(stamps - GRID_MS * np.round(stamps / GRID_MS))
    distinct = len(np.unique(stamps))
    return bool((off <= GRID_TOLERANCE_MS).all()) and 1 < distinct < len(stamps)


def _spread(stamps: Floats) -> Floats:
    """Returns stamps moved forward: the i-th of k requests of a stamp by i/k of the way to the next one, 3 s at most."""
    distinct, group, counts = np.unique(stamps, return_inverse=True, return_counts=True)
    step = np.minimum(np.diff(distinct, append=np.inf), GRID_MS)
    place = np.arange(len(stamps)) - (np.cumsum(counts) - counts)[group]
    return np.asarray(stamps + step[group] * place / counts[group], np.float64)
