"""Traces that are sent to the service: looked at, stored by the hash of their content, and put where simulations find them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from db import traces
from db.rows import TraceRow
from db.session import Store
from simulator import uploads
from simulator.errors import InputError
from simulator.spec.workload import Workload
from simulator.traces import Trace, reader

FIELD = "trace"
# Of a file as it is sent, and of one that is unpacked. A row of the store has to be read whole.
MOST_BYTES, MOST_UNPACKED_BYTES = 64 * 2**20, 256 * 2**20


def inspect(data: bytes, name: str) -> dict[str, Any]:
    """Returns what is in a trace file; raises InputError, with the line, for one that no format reads."""
    return _summary(reader.parse(data, Path(name), FIELD, MOST_UNPACKED_BYTES))


def add(store: Store, data: bytes, name: str = "", look: Callable[[bytes, str], dict[str, Any]] = inspect) -> tuple[TraceRow, bool]:
    """Returns the stored trace and whether it is new; `look` reads it first, which may be done in another process."""
    if len(data) > MOST_BYTES:
        raise InputError(FIELD, f"{len(data):,} bytes", f"at most {MOST_BYTES:,} bytes")
    shown = shown_name(name)
    return traces.add(store, data, shown, look(data, shown))


def shown_name(name: str) -> str:
    """Returns what a file is called, for people: its last part, printable, never a path; `trace` where nothing is left."""
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(each for each in last if each.isprintable()).strip(" .")[:100]
    return kept.encode("utf-8", "ignore").decode() or "trace"


def fetch(store: Store, workload: Workload) -> None:
    """Puts a workload's uploaded trace on this machine; raises InputError when the store has none of this hash."""
    name = workload.trace
    if name is None or not name.startswith("sha256:"):
        return
    if uploads.has(name):
        # A damaged copy is fetched anew; simulations read none.
        try:
            uploads.read(name)
        except InputError:
            pass
        else:
            return
    data = traces.content(store, uploads.hash_of(name))
    if data is None:
        raise InputError("workload.trace", name, "a trace that was uploaded to this service")
    uploads.keep(name, data)


def document(row: TraceRow) -> dict[str, Any]:
    """Returns a trace as it is told: `trace` is what a workload names it by."""
    return {
        "trace": f"sha256:{row.sha256}",
        "name": row.name,
        "size_bytes": row.size_bytes,
        "created_at": row.created_at.isoformat(),
        **row.summary,
    }


def _summary(trace: Trace) -> dict[str, Any]:
    clock = trace.arrival_s
    duration_s = None if clock is None else float(clock[-1] - clock[0])
    return {
        "format": trace.format,
        "rows": trace.rows,
        "requests": len(trace),
        "dropped": dict(trace.dropped),
        "duration_s": duration_s,
        "rate_rps": (len(trace) - 1) / duration_s if duration_s else None,
        "mean_prompt_tokens": float(np.mean(trace.prompt_tokens)),
        "mean_output_tokens": float(np.mean(trace.output_tokens)),
        "classes": list(trace.class_names)[:50],
        "notes": list(trace.notes),
    }
