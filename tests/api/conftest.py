"""A service to ask: real processes of `trimtab serve`, and an application without a socket for what needs no process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from search.api.app import application
from search.api.state import Limits
from search.client import Client
from tests.api.asking import Service


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Yields a starter of services on one store, all ended with the test."""
    started: list[Service] = []

    def start(*options: str, port: int = 0) -> Service:
        started.append(Service(tmp_path / "studies.db", *options, port=port))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.end()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yields the API and a worker, which the tests of a module share."""
    started = Service(tmp_path_factory.mktemp("service") / "studies.db")
    yield started
    assert started.end() == 0


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    """Yields a client of the shared service."""
    with Client(service.url) as opened:
        yield opened


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Yields an application of this process on an empty store."""
    db = tmp_path_factory.mktemp("web") / "studies.db"
    limits = Limits(body_bytes=20_000, num_requests=5_000, wall_s=20.0, at_once=1)
    with TestClient(application(str(db), limits), raise_server_exceptions=False) as opened:
        yield opened
