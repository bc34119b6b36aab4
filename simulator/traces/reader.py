"""The door to recorded traffic: a file of any known format, plain or gzip, becomes a Trace."""

from __future__ import annotations

import gzip
import importlib
import io
import zlib
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np

from simulator.errors import InputError
from simulator.traces import Format, Trace
from simulator.traces._table import Table, from_csv, from_json_lines

CLASS = "class"
SESSIONS = ("session", "session_id")
UNNAMED = "all"
GZIP_MAGIC = b"\x1f\x8b"
TEXT = "CSV or JSON Lines in UTF-8, plain or gzip"


@cache
def formats() -> Mapping[str, Format]:
    """Returns the known formats by name, one for each module of this folder."""
    found = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))
    package = __name__.rpartition(".")[0]
    return {name: cast(Format, importlib.import_module(f"{package}.{name}")) for name in found if name != Path(__file__).stem}


def read(path: Path, field: str = "workload.trace") -> Trace:
    """Returns the requests of a trace file; raises InputError under `field` for what cannot be read, with the line.

    Rows with zero prompt or output tokens are left out and counted.
    """
    return parse(_bytes(path, field), path, field)


def parse(data: bytes, path: Path, field: str = "workload.trace", most_bytes: int | None = None) -> Trace:
    """Returns the requests of a trace file's bytes, as `read` does; `path` is only told, and never opened.

    Raises InputError under `field` as well for a file that unpacks to more than `most_bytes`.
    """
    table = _table(_text(data, path, field, most_bytes), path, field)
    columns = frozenset(table.columns)
    name = next((name for name, known in formats().items() if known.matches(columns)), None)
    if name is None:
        choices = "; ".join(f"{name}: {known.NEEDS}" for name, known in formats().items())
        raise InputError(f"{field} (columns of {path.name})", ", ".join(table.columns), f"a file with the columns of {choices}")
    if not len(table):
        raise InputError(field, str(path), "a trace with at least one request (it has a header and no rows)")
    trace = replace(formats()[name].parse(table), format=name, rows=len(table))
    return _read_only(_without_zeros(_labelled(trace, table), path, field))


def _labelled(trace: Trace, table: Table) -> Trace:
    """Returns the trace with the columns `class` and `session` (or `session_id`), which a file of any format may have."""
    if CLASS in table.columns:
        class_of, names = table.numbered(CLASS)
        if (class_of < 0).any():
            names, class_of = (*names, UNNAMED), np.where(class_of < 0, len(names), class_of)
        trace = replace(trace, class_of=class_of[trace.row], class_names=names)
    column = next((name for name in SESSIONS if name in table.columns), None)
    if column is not None and (trace.session < 0).all():
        trace = replace(trace, session=table.numbered(column)[0][trace.row])
    return trace


def _text(data: bytes, path: Path, field: str, most_bytes: int | None) -> str:
    if data.startswith(GZIP_MAGIC):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                data = file.read() if most_bytes is None else file.read(most_bytes + 1)
        except EOFError:
            raise InputError(field, str(path), "a whole gzip file (this one is cut short)") from None
        except (OSError, zlib.error) as error:
            raise InputError(field, str(path), f"a sound gzip file ({error})") from None
    if most_bytes is not None and len(data) > most_bytes:
        raise InputError(field, str(path), f"a file of at most {most_bytes:,} bytes once it is unpacked")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InputError(field, str(path), f"{TEXT} (it holds binary data)")
    if not text.strip():
        raise InputError(field, str(path), "a trace with at least one request (the file is empty)")
    return text


def _bytes(path: Path, field: str) -> bytes:
    try:
        if path.is_file() or not path.exists():
            return path.read_bytes()
    except OSError as error:
        raise InputError(field, str(path), f"a readable trace file ({error.strerror or error})") from None
    except ValueError as error:
        raise InputError(field, str(path), f"a path ({error})") from None
    # Opening a pipe or a device would wait for ever, or never end.
    raise InputError(field, str(path), f"a file ({'a directory' if path.is_dir() else 'a device or pipe'} is there)")


def _table(text: str, path: Path, field: str) -> Table:
    return (from_json_lines if text.lstrip().startswith("{") else from_csv)(text, path.name, field)


def _without_zeros(trace: Trace, path: Path, field: str) -> Trace:
    no_prompt = trace.prompt_tokens == 0
    no_output = (trace.output_tokens == 0) & ~no_prompt
    counts = {"zero prompt tokens": int(no_prompt.sum()), "zero output tokens": int(no_output.sum())}
    dropped = {reason: count for reason, count in counts.items() if count}
    if not dropped:
        return trace
    keep = ~(no_prompt | no_output)
    told = " and ".join(f"{count:,} with {reason}" for reason, count in dropped.items())
    if not keep.any():
        raise InputError(field, str(path), f"a trace with a request of one token or more (of {trace.rows:,} rows {told})")
    blocks = trace.block_ids and tuple(trace.block_ids[row] for row in np.flatnonzero(keep))
    return replace(
        trace,
        arrival_s=None if trace.arrival_s is None else trace.arrival_s[keep],
        prompt_tokens=trace.prompt_tokens[keep],
        output_tokens=trace.output_tokens[keep],
        priority=trace.priority[keep],
        class_of=trace.class_of[keep],
        session=trace.session[keep],
        row=trace.row[keep],
        block_ids=blocks,
        dropped=dropped,
        notes=(*trace.notes, f"{path.name}: of {trace.rows:,} rows {told} were dropped"),
    )


def _read_only(trace: Trace) -> Trace:
    arrays = [getattr(trace, entry.name) for entry in fields(trace)]
    for array in (*arrays, *(trace.block_ids or ())):
        if isinstance(array, np.ndarray):
            array.setflags(write=False)
    return trace
