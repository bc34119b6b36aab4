"""Azure LLM inference traces (Azure/AzurePublicDataset, 2023 to 2025): CSV with a date and time for each request."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from simulator.traces import Trace
from simulator.traces._table import Table

NEEDS = "TIMESTAMP, ContextTokens, GeneratedTokens (CSV)"
COLUMNS = frozenset({"TIMESTAMP", "ContextTokens", "GeneratedTokens"})
ALLOWED = "a date and time as 2023-11-16 18:15:46.6805900, with or without fraction and offset"
STAMP = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d{1,9})?)(?:Z|([+-])(\d\d):?(\d\d))?")


def matches(columns: frozenset[str]) -> bool:
    """Returns whether a file with these columns is an Azure trace."""
    return columns >= COLUMNS


def parse(table: Table) -> Trace:
    """Returns the requests with seconds from the file's first row."""
    stamps = _stamps(table)
    table.in_order(stamps, "TIMESTAMP")
    return Trace(
        arrival_s=(stamps - stamps[0]).astype(np.int64) / 1e9,
        prompt_tokens=table.tokens("ContextTokens"),
        output_tokens=table.tokens("GeneratedTokens"),
        priority=table.priority(),
    )


def _stamps(table: Table) -> np.ndarray[Any, np.dtype[np.datetime64]]:
    """Returns TIMESTAMP in nanoseconds; one without an offset is taken as UTC, which only differences see."""
    found = [STAMP.fullmatch(value) for value in table.columns["TIMESTAMP"]]
    for row, match in enumerate(found):
        if match is None:
            raise table.wrong(row, "TIMESTAMP", ALLOWED)
    texts = [match[1] for match in found if match]
    try:
        stamps = np.array(texts, "datetime64[ns]")
    except ValueError:
        raise table.wrong(next(row for row, text in enumerate(texts) if not _is_date(text)), "TIMESTAMP", ALLOWED) from None
    if any(match[2] for match in found if match):
        minutes = [int(f"{m[2]}1") * (60 * int(m[3]) + int(m[4])) if m[2] else 0 for m in found if m]
        stamps = stamps - np.array(minutes, "timedelta64[m]")
    return stamps


def _is_date(text: str) -> bool:
    try:
        np.datetime64(text, "ns")
    except ValueError:
        return False
    return True
