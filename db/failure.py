"""What a database says when it fails, in words for a person."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from simulator.errors import StoreError

# What a value may raise on its way into SQL, beside the database's own errors: too large a number, broken text.
FAILURES = (SQLAlchemyError, sqlite3.Error, OverflowError, UnicodeError)
_PLAIN = {
    "database or disk is full": "the disk is full",
    "No space left on device": "the disk is full",
    "database is locked": "another process keeps it locked",
    "disk I/O error": "the disk reports an error",
    "database disk image is malformed": "the file is damaged",
    "canceling statement due to lock timeout": "another process keeps it locked",
}
_PASSING = frozenset({"the disk is full", "another process keeps it locked", "the disk reports an error"})
# PostgreSQL's conditions that pass: no connection, no room, a lock, another transaction, a server that stops or starts.
_PASSING_STATES = ("08", "53", "55P03", "40", "57P0", "58030", "25P03")


def reason(error: BaseException) -> str:
    """Returns one line that says why the database refused."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = str(cause).strip().splitlines()
    line = lines[0] if lines else type(cause).__name__
    return next((plain for told, plain in _PLAIN.items() if told in line), line)


def is_passing(error: BaseException) -> bool:
    """Returns whether the failure lies in the moment (full disk, lock) rather than in what `--db` names."""
    return reason(error) in _PASSING


def may_succeed_later(error: BaseException) -> bool:
    """Returns whether the same transaction may succeed later: with room again, unlocked, or when the server is back."""
    if is_passing(error):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_PASSING_STATES)
    from_server = type(error.orig).__module__.startswith("psycopg")
    return error.connection_invalidated or (from_server and isinstance(error, OperationalError))


def store_error(error: BaseException, place: str, doing: str) -> StoreError:
    """Returns the StoreError of a failed read or write of the store at `place`."""
    told = StoreError(f"the store {place} cannot be {doing}: {reason(error)}; what was stored before is kept")
    told.passing = may_succeed_later(error)
    return told
