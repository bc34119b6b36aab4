"""Traces by REST: sent, listed, read, deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from db import keys
from db.session import Store, open_store
from search.api.access import Access
from search.api.app import application

CSV = b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,10,5\n2023-11-16 18:15:50.68,20,15\n"


class Inline:
    """Reads in this process what the service reads in another one."""

    def call(self, work: Callable[..., Any], *given: Any) -> Any:
        return work(*given)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "s.db") as opened:
        yield opened


@pytest.fixture
def client(store: Store) -> TestClient:
    app = application(store.place, access=Access(on=True))
    app.state.service = SimpleNamespace(store=store, bounded=Inline())
    _, secret = keys.create(store, "all", ["admin"])
    return TestClient(app, headers={"Authorization": f"Bearer {secret}"}, raise_server_exceptions=False)


def test_a_trace_is_sent_listed_read_and_deleted(client: TestClient) -> None:
    sent = client.post("/api/v1/traces", content=CSV, headers={"X-File-Name": "<b>../a.csv"})
    assert sent.status_code == 201, sent.text
    trace = sent.json()["trace"]
    assert (sent.json()["name"], sent.json()["format"], sent.json()["duration_s"]) == ("a.csv", "azure", 4.0)
    assert client.post("/api/v1/traces", content=CSV).status_code == 200
    assert [item["trace"] for item in client.get("/api/v1/traces").json()["items"]] == [trace]
    assert client.get(f"/api/v1/traces/{trace}").json() == sent.json()
    assert client.delete(f"/api/v1/traces/{trace}").status_code == 204
    assert client.delete(f"/api/v1/traces/{trace}").status_code == 404
    assert client.get(f"/api/v1/traces/{trace}").status_code == 404


def test_pages_go_on_where_the_one_before_ended(client: TestClient) -> None:
    for number in range(3):
        client.post("/api/v1/traces", content=CSV + b"2023-11-16 18:15:51.68,20,%d\n" % (number + 1))
    first = client.get("/api/v1/traces?limit=2").json()
    rest = client.get(f"/api/v1/traces?limit=2&cursor={first['next_cursor']}").json()
    assert (len(first["items"]), len(rest["items"]), rest["next_cursor"]) == (2, 1, None)
    assert len({item["trace"] for item in [*first["items"], *rest["items"]]}) == 3


def test_a_wrong_row_is_told_by_its_line_and_a_large_file_is_refused(client: TestClient) -> None:
    wrong = client.post("/api/v1/traces", content=CSV + b"2023-11-16 18:15:51.68,x,1\n")
    assert wrong.status_code == 422 and "line 4" in wrong.json()["detail"]
    assert client.post("/api/v1/traces", content=b"x" * (2 * 2**20)).status_code == 422, "the limit of other bodies is not its"
    assert client.post("/api/v1/traces", content=b"x", headers={"Content-Length": str(65 * 2**20)}).status_code == 413
