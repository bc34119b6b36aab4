"""Keeping a store small and safe: what is old is removed, and a copy is made while it is in use."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import ColumnElement, String, cast, delete, exists, func, inspect, literal, select, text

from db import migrate
from db.engine import writing_engine
from db.failure import FAILURES, reason
from db.location import database_url, shown
from db.session import Store
from db.sweep_tables import Baseline, SweepRun
from db.tables import Event, Idempotency, LoginSession, Study, TraceFile
from db.webhook_tables import Delivery
from simulator.errors import InputError, StoreError

OVER = ("done", "infeasible", "cancelled", "failed")


def prune(store: Store, before: datetime, *, keep: frozenset[str] = frozenset(), dry_run: bool = False) -> dict[str, int]:
    """Returns how much of each kind was removed, in one transaction, or would be with `dry_run`.

    Studies that ended before then go with all that is theirs, but those whose id or name is in `keep`; of other studies
    that are over, the events; answered submits, logins that are over, and traces that no study is left to need; nights of
    suites, but those that were ever approved as a baseline; deliveries to webhooks that are over.
    """
    old = (Study.state.in_(OVER), func.coalesce(Study.finished_at, Study.created_at) < before)
    kept = (Study.id.not_in(keep), Study.name.not_in(keep))
    ended = select(Study.id).where(Study.state.in_(OVER))
    needed = exists().where(cast(Study.request, String).contains(literal("sha256:") + TraceFile.sha256))
    with store.write() as session:
        counts = {
            "studies": session.execute(delete(Study).where(*old, *kept)),
            "events": session.execute(delete(Event).where(Event.created_at < before, Event.study_id.in_(ended))),
            "submits": session.execute(delete(Idempotency).where(Idempotency.created_at < before)),
            "sessions": session.execute(delete(LoginSession).where(LoginSession.expires_at < datetime.now(UTC))),
            "traces": session.execute(delete(TraceFile).where(_before(before), ~needed)),
            "sweeps": session.execute(
                delete(SweepRun).where(SweepRun.finished_at < before, SweepRun.id.not_in(select(Baseline.run_id)))
            ),
            "deliveries": session.execute(delete(Delivery).where(Delivery.finished_at < before)),
        }
        found = {name: int(getattr(result, "rowcount", 0)) for name, result in counts.items()}
        if dry_run:
            session.rollback()
    return found


def _before(moment: datetime) -> ColumnElement[bool]:
    # One that was sent just now may be for a study that is submitted next.
    return TraceFile.created_at < moment


def backup(db: str | Path, target: Path) -> int:
    """Returns the bytes of a copy of an SQLite store at one moment, made while others write to it, and checked.

    The copy takes the target's place when it is whole. Raises InputError under `--db` for PostgreSQL, which has its own
    tools, and StoreError when the copy cannot be made.
    """
    url = database_url(db)
    if url.get_backend_name() != "sqlite":
        raise InputError("--db", shown(url), "an SQLite file; PostgreSQL is copied by pg_dump --format=custom")
    source = Path(url.database or "")
    if not source.is_file():
        raise InputError("--db", shown(url), "a store that exists")
    if target.exists() and target.samefile(source):
        raise InputError("FILE", str(target), "another file than the store")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with closing(sqlite3.connect(source, timeout=30)) as read, closing(sqlite3.connect(part)) as written:
            read.backup(written)
            # A copy is one file: a log beside it would be left behind when it is moved.
            written.execute("PRAGMA journal_mode = DELETE")
            found = written.execute("PRAGMA integrity_check").fetchone()[0]
        if found != "ok":
            raise StoreError(f"the copy of {shown(url)} is damaged: {found}")
        os.replace(part, target)
    except (*FAILURES, OSError) as error:
        raise StoreError(f"the store {shown(url)} cannot be copied to {target}: {reason(error)}") from error
    finally:
        with suppress(OSError):
            part.unlink()
    return target.stat().st_size


def move(store: Store, revision: str) -> str:
    """Returns the revision that the schema was moved down or up to; raises InputError under `--to` for one that is not known."""
    known = migrate.revisions()
    if revision not in known:
        raise InputError("--to", revision, ", ".join(known))
    with migrate.migrating(store.engine) as connection:
        at = migrate.current(connection) or ""
        (migrate.downgrade if revision < at else migrate.upgrade)(connection, revision)
    return revision


def writable(db: str | Path) -> str | None:
    """Returns the revision of a store that takes a write, None for an empty place; nothing is changed or migrated.

    Raises InputError for what is no store's place, and StoreError for one that does not answer or takes no write.
    """
    url = database_url(db)
    try:
        engine = writing_engine(url, 5.0)
    except ModuleNotFoundError:
        raise InputError("--db", shown(url), "a path, since the package psycopg is not installed") from None
    try:
        with engine.connect() as connection:
            tables = inspect(connection).get_table_names()
            revision = migrate.current(connection) if migrate.VERSION_TABLE in tables else None
            if revision is not None:
                connection.execute(text(f"UPDATE {migrate.VERSION_TABLE} SET version_num = version_num"))
            connection.rollback()
            return revision
    except FAILURES as error:
        raise StoreError(f"the store {shown(url)} cannot be written: {reason(error)}") from error
    finally:
        engine.dispose()
