"""Connections that lose nothing: how transactions begin on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

from db.jsontext import dumps

READS = "trimtab_reads"


def writing_engine(url: URL, lock_timeout_s: float) -> Engine:
    """Returns an engine whose transactions see every earlier write and wait `lock_timeout_s` seconds for a lock."""
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, lock_timeout_s)
    return _postgresql(url, lock_timeout_s)


def reading_engine(engine: Engine) -> Engine:
    """Returns the engine of the same pool whose transactions read one snapshot and hold up no writer."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(**{READS: True})
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def _sqlite(url: URL, lock_timeout_s: float) -> Engine:
    engine = create_engine(url, connect_args={"timeout": lock_timeout_s}, json_serializer=dumps)

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _record: object) -> None:
        # The driver's own mode begins a transaction only at its first write: what was read before may be stale by
        # then, and two processes that read, change and write lose updates in silence.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        # FULL rather than NORMAL: a commit survives a power cut as well, for about a millisecond.
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        reads = connection.get_execution_options().get(READS, False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _postgresql(url: URL, lock_timeout_s: float) -> Engine:
    engine = create_engine(url, connect_args={"connect_timeout": 10}, json_serializer=dumps, pool_pre_ping=True)

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        connection.execute(f"SET lock_timeout = {round(lock_timeout_s * 1000)}")
        # A process whose machine vanished in the middle of a transaction holds its locks no longer than this.
        connection.execute("SET idle_in_transaction_session_timeout = 60000")
        connection.commit()

    return engine


def use_write_ahead_log(engine: Engine, lock_timeout_s: float) -> None:
    """Switches an SQLite file to WAL, so that readers and the writer do not wait for each other; the file remembers."""
    deadline = time.monotonic() + lock_timeout_s
    while True:
        raw = engine.raw_connection()
        try:
            raw.cursor().execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            # SQLite does not wait for this lock by itself, and two processes may open a new file at once.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        finally:
            raw.close()
