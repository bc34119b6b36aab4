"""A store: one database with studies in it, opened by path or URL and brought to the newest schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Engine, inspect
from sqlalchemy.orm import Session

from db import migrate, sweep_tables, webhook_tables
from db.engine import reading_engine, use_write_ahead_log, writing_engine
from db.failure import FAILURES, is_passing, reason, store_error
from db.location import FIELD, database_url, shown
from db.tables import Base
from simulator.errors import InputError

LOCK_TIMEOUT_S = 30.0
# Whoever opens a store knows all of its tables.
assert sweep_tables.SweepRun.metadata is webhook_tables.Webhook.metadata is Base.metadata


class Store:
    """An open database; safe to share between threads, not between processes: each opens its own."""

    def __init__(self, engine: Engine) -> None:
        """Takes over an engine whose database is at the newest schema."""
        self.place = shown(engine.url)
        self.engine = engine
        self._reading = reading_engine(engine)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yields a session in one transaction, kept whole at the end or not at all; raises StoreError when it cannot be."""
        try:
            with Session(self.engine, expire_on_commit=False) as session, session.begin():
                yield session
        except FAILURES as error:
            raise store_error(error, self.place, "written") from error

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yields a session on one snapshot, which waits for no writer; raises StoreError when it cannot be read."""
        try:
            with Session(self._reading) as session:
                yield session
        except FAILURES as error:
            raise store_error(error, self.place, "read") from error

    def close(self) -> None:
        """Closes every connection; SQLite then folds its log into the file."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        """Returns the store itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Closes the store."""
        self.close()


def open_store(db: str | Path, lock_timeout_s: float = LOCK_TIMEOUT_S) -> Store:
    """Returns the store at a path or URL, made when new and migrated when old.

    Raises InputError under `--db` when it names no place for a store, and StoreError when the place is right but the
    disk is full or another process keeps it locked. Processes that open one new file at once wait for each other.
    """
    url = database_url(db)
    try:
        engine = writing_engine(url, lock_timeout_s)
    except ModuleNotFoundError:
        raise InputError(FIELD, shown(url), "a path, since the package psycopg is not installed") from None
    try:
        _prepare(engine, lock_timeout_s)
    except FAILURES as error:
        engine.dispose()
        if is_passing(error):
            raise store_error(error, shown(url), "opened") from error
        raise InputError(FIELD, shown(url), f"a store, or a place for a new one ({reason(error)})") from error
    except BaseException:
        engine.dispose()
        raise
    return Store(engine)


def _prepare(engine: Engine, lock_timeout_s: float) -> None:
    revision = _revision(engine)
    known = migrate.revisions()
    if revision is not None and revision not in known:
        allowed = f"a store of this version of Trimtab or older (schema {known[-1]}; this one has {revision})"
        raise InputError(FIELD, shown(engine.url), allowed)
    if engine.dialect.name == "sqlite":
        use_write_ahead_log(engine, lock_timeout_s)
    if revision != known[-1]:
        with migrate.migrating(engine) as connection:
            migrate.upgrade(connection)


def _revision(engine: Engine) -> str | None:
    """Returns the schema revision, None for an empty database; raises InputError for one of another program."""
    with reading_engine(engine).connect() as connection:
        tables = set(inspect(connection).get_table_names())
        if migrate.VERSION_TABLE in tables:
            return migrate.current(connection)
    # A file belongs to one program; a PostgreSQL database may be shared as long as the names do not collide.
    strange = tables if engine.dialect.name == "sqlite" else tables & set(Base.metadata.tables)
    if strange:
        allowed = f"a store, or a place for a new one (this is another program's, with tables {', '.join(sorted(strange)[:5])})"
        raise InputError(FIELD, shown(engine.url), allowed)
    return None
