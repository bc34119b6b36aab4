"""Stores to test on: an SQLite file, and a database of a PostgreSQL server that the tests start themselves."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

import db
from db import record
from db.engine import writing_engine
from db.location import database_url
from db.rows import PointResult, StudyRow, TrialResult
from db.session import Store, open_store

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


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """Yields the URL, without a database name, of a PostgreSQL server on the loopback that ends with the tests."""
    programs = _programs()
    if programs is None:
        _missing("PostgreSQL is not installed (no initdb in PATH or /usr/lib/postgresql)")
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="trimtab-postgresql-"))
    # PostgreSQL refuses to run as root.
    user: list[str] = []
    if os.geteuid() == 0:
        try:
            owner = pwd.getpwnam("postgres")
        except KeyError:
            _missing("PostgreSQL refuses to run as root, and there is no user postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        user = ["runuser", "-u", "postgres", "--"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    # Durability is PostgreSQL's own business; without it the tests are several times faster.
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c max_connections=40"
    control = [*user, str(programs / "pg_ctl"), "-D", str(data), "-w"]
    try:
        _run([*user, str(programs / "initdb"), "-D", str(data), "-U", "trimtab", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"])
        _run([*control, "-l", str(folder / "log"), "-o", options, "start"])
        try:
            yield f"postgresql://trimtab@127.0.0.1:{port}/"
        finally:
            _run([*control, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Returns the URL of an SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'studies.db'}"


@pytest.fixture
def postgresql_url(postgresql_server: str) -> str:
    """Returns the URL of an empty PostgreSQL database."""
    return _new_database(postgresql_server)


def _new_database(server: str) -> str:
    name = f"studies_{next(_NUMBERS)}"
    engine = create_engine(f"{server.replace('://', '+psycopg://')}postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template0"))
    engine.dispose()
    return f"{server}{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """Returns the URL of an empty database, of each kind in turn."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture(scope="session")
def postgresql_store(postgresql_server: str) -> Iterator[Store]:
    """Yields the PostgreSQL store that tests share, one after the other."""
    with open_store(_new_database(postgresql_server)) as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Yields an open, empty store, of each kind in turn; its schema is not to be changed."""
    if request.param == "sqlite":
        with open_store(request.getfixturevalue("sqlite_url")) as opened:
            yield opened
        return
    shared: Store = request.getfixturevalue("postgresql_store")
    with shared.write() as session:
        session.execute(text("DELETE FROM studies"))
    yield shared


@pytest.fixture
def store_url(store: Store) -> str:
    """Returns the URL under which other processes open `store`."""
    return store.engine.url.render_as_string(hide_password=False)


@pytest.fixture
def engine_of() -> Iterator[Callable[[str], Engine]]:
    """Yields a maker of engines on a database that nobody has opened as a store."""
    with ExitStack() as made:

        def make(url: str) -> Engine:
            engine = writing_engine(database_url(url), 5)
            made.callback(engine.dispose)
            return engine

        yield make


class Worker:
    """A process that runs `worker.py`: `begin` hands it a command, `end` waits for its answer."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path(db.__file__).parents[1])}
        command = [sys.executable, "-B", str(Path(__file__).with_name("worker.py"))]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True, cwd="/")

    def begin(self, *command: object) -> None:
        """Has the process begin a command."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def line(self) -> str:
        """Returns the next line of what it says, empty when it is gone."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self) -> str:
        """Returns `end`, or the error as `Kind: message`."""
        while (line := self.line()).strip().isdigit():
            pass
        return line.strip()


@pytest.fixture
def worker() -> Iterator[Worker]:
    """Yields a process of the test's own, which may be killed."""
    with _ended([Worker()]) as (started,):
        yield started


@pytest.fixture(scope="session")
def workers() -> Iterator[list[Worker]]:
    """Yields four processes that tests share, one after the other."""
    with _ended([Worker() for _ in range(4)]) as started:
        yield started


@contextmanager
def _ended(started: list[Worker]) -> Iterator[list[Worker]]:
    try:
        yield started
    finally:
        for one in started:
            one.process.kill()
            one.process.communicate()


@pytest.fixture
def new_study() -> Callable[..., StudyRow]:
    """Returns a maker of stored studies in state `queued`."""

    def make(store: Store, name: str = "chat", digest: str = "d0", seed: int = 0) -> StudyRow:
        fixed: dict[str, Any] = {"request": {"name": name}, "versions": {"trimtab": "1"}, "kernel_digest": "k0"}
        return record.create_study(store, name=name, digest=digest, seed=seed, **fixed)

    return make


@pytest.fixture
def result() -> Callable[..., TrialResult]:
    """Returns a maker of trial results that differ in their key and in what is given."""

    def make(key: str = "a", **given: Any) -> TrialResult:
        deployment = {"device": "H100-SXM", "tensor_parallel_size": 1}
        base = TrialResult(key=key, state="done", deployment=deployment, kernel_digest="k0", seed=0)
        return replace(base, **given)

    return make


@pytest.fixture
def point() -> Callable[..., PointResult]:
    """Returns a maker of operating points that differ in what is given."""

    def make(rate_rps: float = 1.0, **given: Any) -> PointResult:
        return replace(PointResult(rate_rps=rate_rps, metrics={"requests": 1}, objectives={"usd": 2.5}), **given)

    return make
