"""Hashes of the blocks of a prompt, as the formats of several projects list them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simulator.traces import Trace
from simulator.traces._table import Table

COLUMN = "hash_ids"


def with_hashes(trace: Trace, table: Table, block_tokens: int) -> Trace:
    """Returns the trace with the column `hash_ids`, where there is one for each `block_tokens` tokens of every prompt."""
    if COLUMN not in table.columns:
        return trace
    blocks = table.blocks(COLUMN, _ids, "a list of block numbers")
    # Hashes of blocks of another size would misplace every shared prefix.
    needed = -(-trace.prompt_tokens // block_tokens)
    if any(len(ids) != count for ids, count in zip(blocks, needed.tolist(), strict=True)):
        note = f"{table.name}: hash_ids are left out, since they are not one for each {block_tokens} tokens of the prompt"
        return replace(trace, notes=(*trace.notes, note))
    return replace(trace, block_ids=blocks, block_tokens=block_tokens)


def _ids(value: Any) -> list[int]:
    ids: list[int] = [] if value is None else value
    if not isinstance(ids, list) or not set(map(type, ids)) <= {int} or (ids and min(ids) < 0):
        raise ValueError(value)
    return ids
