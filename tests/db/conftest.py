"""Stores to test on: an SQLite file, and a database of a PostgreSQL server that the tests start themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

import db
from db import record
from db.engine import writing_engine
from db.location import database_url
from db.rows import PointResult, StudyRow, TrialResult
from db.session import Store, open_store
from tests.databases import Server, postgresql, postgresql_url, sqlite_url, url

__all__ = ["postgresql", "postgresql_url", "sqlite_url", "url"]


@pytest.fixture(scope="session")
def postgresql_store(postgresql: Server) -> Iterator[Store]:
    """Yields the PostgreSQL store that tests share, one after the other."""
    with open_store(postgresql.new_database()) as opened:
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
        session.execute(text("DELETE FROM sweep_runs"))
        session.execute(text("DELETE FROM webhooks"))
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
