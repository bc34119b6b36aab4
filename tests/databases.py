"""Databases to test on: SQLite files, and PostgreSQL servers that the tests start themselves; fixtures that rooms share."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

_NUMBERS = count()


def _programs() -> Path | None:
    found = shutil.which("pg_ctl")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -int(path.parent.name.split(".")[0]))
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def _missing(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


class Server:
    """A PostgreSQL server on the loopback, of the tests' own; `url` lacks the name of a database."""

    def __init__(self, folder: Path, programs: Path, user: list[str], owner: tuple[int, int] | None) -> None:
        self._owner = owner
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"postgresql://trimtab@127.0.0.1:{self.port}/"
        self._log, data = folder / "log", folder / "data"
        self._control = [*user, str(programs / "pg_ctl"), "-D", str(data), "-w"]
        initialize = [str(programs / "initdb"), "-D", str(data), "-U", "trimtab", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"]
        _run([*user, *initialize])

    def start(self) -> None:
        """Starts the server."""
        # Durability is PostgreSQL's own business; without it the tests are several times faster.
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c max_connections=60"
        _run([*self._control, "-l", str(self._log), "-o", options, "start"])

    def stop(self) -> None:
        """Stops the server at once, whoever is connected."""
        _run([*self._control, "-m", "immediate", "stop"])

    def new_database(self, folder: Path | None = None) -> str:
        """Returns the URL of an empty database, with its files in a folder if one is given."""
        name = f"studies_{next(_NUMBERS)}"
        engine = create_engine(f"{self.url.replace('://', '+psycopg://')}postgres", isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            where = ""
            if folder is not None:
                place = folder / name
                place.mkdir()
                if self._owner is not None:
                    os.chown(place, *self._owner)
                    for parent in place.parents:
                        parent.chmod(parent.stat().st_mode | 0o001)
                connection.execute(text(f"CREATE TABLESPACE {name} LOCATION '{place}'"))
                where = f" TABLESPACE {name}"
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template0{where}"))
        engine.dispose()
        return f"{self.url}{name}"


@contextmanager
def running_server() -> Iterator[Server]:
    """Yields a running server that ends with the block; skips the test where PostgreSQL is not installed."""
    programs = _programs()
    if programs is None:
        _missing("PostgreSQL is not installed (no initdb in PATH or /usr/lib/postgresql)")
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="trimtab-postgresql-"))
    # PostgreSQL refuses to run as root.
    user: list[str] = []
    ids: tuple[int, int] | None = None
    if os.geteuid() == 0:
        try:
            owner = pwd.getpwnam("postgres")
        except KeyError:
            _missing("PostgreSQL refuses to run as root, and there is no user postgres")
        ids = owner.pw_uid, owner.pw_gid
        os.chown(folder, *ids)
        user = ["runuser", "-u", "postgres", "--"]
    try:
        server = Server(folder, programs, user, ids)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """Yields a PostgreSQL server that ends with the tests."""
    with running_server() as server:
        yield server


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Returns the URL of an SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'studies.db'}"


@pytest.fixture
def postgresql_url(postgresql: Server) -> str:
    """Returns the URL of an empty PostgreSQL database."""
    return postgresql.new_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """Returns the URL of an empty database, of each kind in turn."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found
