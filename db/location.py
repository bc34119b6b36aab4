"""Where a store lies: the value of `--db` read, checked, and shown without its password."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from simulator.errors import InputError

FIELD = "--db"
FORMS = "a path, sqlite:///PATH or postgresql://USER@HOST/NAME"


def database_url(text: str | Path) -> URL:
    """Returns the SQLAlchemy URL, with its driver, of a path or URL; raises InputError when nothing can be stored there."""
    value = str(text)
    if "://" not in value:
        return _file_url(value, value)
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        # The text may hold a password that cannot be told apart from the rest of a broken URL.
        raise InputError(FIELD, value.split("://", 1)[0] + "://...", FORMS) from None
    kind = url.drivername.split("+")[0]
    if kind == "sqlite":
        if url.query or url.host:
            raise InputError(FIELD, value, "sqlite:///PATH, without a host and without options")
        return _file_url(url.database or "", value)
    if kind in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    raise InputError(FIELD, shown(url), FORMS)


def shown(url: URL) -> str:
    """Returns the file's path, or the URL with its password hidden."""
    return url.database or "" if url.drivername.startswith("sqlite") else url.render_as_string(hide_password=True)


def _file_url(name: str, value: str) -> URL:
    if name in ("", ":memory:"):
        raise InputError(FIELD, value, FORMS)
    path = Path(name).absolute()
    if path.is_dir():
        raise InputError(FIELD, value, "a file; this is a folder")
    if not path.parent.is_dir():
        raise InputError(FIELD, value, f"a file in a folder that exists; {path.parent} does not")
    if path.exists() and not path.is_file():
        raise InputError(FIELD, value, "a file; this is a device, a pipe or a socket")
    # SQLite keeps its log beside the file, so the folder must be writable too.
    for target in (path, path.parent):
        if target.exists() and not os.access(target, os.W_OK | os.R_OK):
            raise InputError(FIELD, value, f"a file that can be read and written; {target} cannot")
    return URL.create("sqlite+pysqlite", database=str(path))
