"""Uploaded traces, kept by the hash of their content: in the database, which is what several machines share."""

from __future__ import annotations

import hashlib
import zlib
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import String, cast, delete, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.jsontext import check_storable
from db.rows import TraceRow, row_of
from db.session import Store
from db.tables import Study, TraceFile
from simulator.errors import InputError, StoreError


def add(store: Store, data: bytes, name: str, summary: dict[str, Any]) -> tuple[TraceRow, bool]:
    """Returns the trace with this content and whether it is new; of a file sent twice the first one stays."""
    check_storable(summary, "trace.summary")
    sha256, content = hashlib.sha256(data).hexdigest(), zlib.compress(data, 6)
    try:
        return _added(store, sha256, content, len(data), name, summary)
    except StoreError as error:
        # Of two that send one file at once, the second finds the first one's.
        if isinstance(error.__cause__, IntegrityError) and (first := find(store, sha256)) is not None:
            return first, False
        raise


def _added(store: Store, sha256: str, content: bytes, size: int, name: str, summary: dict[str, Any]) -> tuple[TraceRow, bool]:
    with store.write() as session:
        known = session.get(TraceFile, sha256, with_for_update=True)
        if known is not None:
            return row_of(TraceRow, known), False
        made = TraceFile(sha256=sha256, name=name, size_bytes=size, summary=summary, created_at=datetime.now(UTC), content=content)
        session.add(made)
        session.flush()
        return row_of(TraceRow, made), True


def find(store: Store, sha256: str) -> TraceRow | None:
    """Returns the trace with this hash, or None."""
    with store.read() as session:
        found = session.get(TraceFile, sha256)
        return None if found is None else row_of(TraceRow, found)


def content(store: Store, sha256: str) -> bytes | None:
    """Returns the file as it was sent, None when there is none; raises StoreError when it is not what was stored."""
    with store.read() as session:
        row = session.execute(select(TraceFile.content, TraceFile.size_bytes).where(TraceFile.sha256 == sha256)).one_or_none()
    if row is None:
        return None
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(row.content, row.size_bytes + 1)
    except zlib.error:
        data = b""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise StoreError(f"trace sha256:{sha256[:12]} is damaged in the store {store.place}")
    return data


def listed(store: Store, limit: int = 50, after: str | None = None) -> list[TraceRow]:
    """Returns at most `limit` traces, newest first, those older than the one `after`."""
    query = select(TraceFile).order_by(TraceFile.created_at.desc(), TraceFile.sha256.desc()).limit(limit)
    with store.read() as session:
        if after is not None:
            last = session.get(TraceFile, after)
            if last is None:
                raise InputError("cursor", after, "the next_cursor of the page before")
            query = query.where(tuple_(TraceFile.created_at, TraceFile.sha256) < tuple_(last.created_at, last.sha256))
        return [row_of(TraceRow, row) for row in session.scalars(query)]


def remove(store: Store, sha256: str) -> None:
    """Removes a trace; raises InputError when there is none or a study asks for it."""
    with store.write() as session:
        if session.get(TraceFile, sha256, with_for_update=True) is None:
            raise InputError("trace", f"sha256:{sha256}", "a trace that was uploaded")
        if (user := referring(session, sha256)) is not None:
            raise InputError("trace", f"sha256:{sha256}", f"a trace that no study needs (study {user} does)")
        session.execute(delete(TraceFile).where(TraceFile.sha256 == sha256))


def referring(session: Session, sha256: str) -> str | None:
    """Returns the id of a study whose request names the trace, or None."""
    # The stored text of a request: a hash is too long to be in it by chance.
    found: str | None = session.scalar(select(Study.id).where(cast(Study.request, String).contains(f"sha256:{sha256}")).limit(1))
    return found
