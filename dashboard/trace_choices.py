"""The uploaded traces, as a page offers them."""

from __future__ import annotations

from db import traces
from db.session import Store

NEWEST = 100


def trace_choices(store: Store) -> list[dict[str, str]]:
    """Returns the uploaded traces, newest first, with how many requests are in each."""
    return [
        {"label": f"{row.name}: {row.summary['requests']:,} requests", "value": f"sha256:{row.sha256}"}
        for row in traces.listed(store, NEWEST)
    ]
