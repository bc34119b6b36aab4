"""Qwen's Bailian traces (alibaba-edu/qwen-bailian-usagetraces-anon): seconds, chats, and hashes of 16-token blocks."""

from __future__ import annotations

import numpy as np

from simulator.traces import Ints, Trace
from simulator.traces._hashes import with_hashes
from simulator.traces._table import Table

NEEDS = "chat_id, parent_chat_id, timestamp in seconds, input_length, output_length, optionally hash_ids (JSON Lines)"
COLUMNS = frozenset({"chat_id", "parent_chat_id", "timestamp", "input_length", "output_length"})
BLOCK_TOKENS = 16


def matches(columns: frozenset[str]) -> bool:
    """Returns whether a file with these columns is a Bailian trace."""
    return columns >= COLUMNS


def parse(table: Table) -> Trace:
    """Returns the requests with arrival times in seconds as they are written; a chat and what continues it are a session."""
    trace = Trace(
        arrival_s=table.clock("timestamp"),
        prompt_tokens=table.tokens("input_length"),
        output_tokens=table.tokens("output_length"),
        priority=table.priority(),
        session=_sessions(table),
    )
    return with_hashes(trace, table, BLOCK_TOKENS)


def _sessions(table: Table) -> Ints:
    """Returns the session of each chat: that of its parent where the parent is in the file above it, else a new one."""
    session_of: dict[str, int] = {}
    sessions = np.empty(len(table), np.int64)
    for row, (chat, parent) in enumerate(zip(table.columns["chat_id"], table.columns["parent_chat_id"], strict=True)):
        sessions[row] = session_of[str(chat)] = session_of.get(str(parent), row)
    return np.unique(sessions, return_inverse=True)[1].astype(np.int64)
