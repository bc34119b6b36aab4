"""The runs of nightly suites by REST."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient

from db import keys
from db.session import Store, open_store
from search.api.access import Access
from search.api.app import application
from tests.nights import night, nights


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "s.db") as opened:
        yield opened


@pytest.fixture
def client(store: Store) -> TestClient:
    app = application(store.place, access=Access(on=True))
    app.state.service = SimpleNamespace(store=store)
    _, secret = keys.create(store, "reader", ["read"])
    return TestClient(app, headers={"Authorization": f"Bearer {secret}"}, raise_server_exceptions=False)


def test_pages_of_runs_are_newest_first_and_whole(client: TestClient, store: Store) -> None:
    made = [row.id for row in nights(store, 7)]
    seen, cursor = [], None
    while True:
        page = client.get("/api/v1/regressions", params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]


def test_runs_of_one_suite_alone(client: TestClient, store: Store) -> None:
    nights(store, 2)
    other = night(store, 30, suite="weekly")
    items = client.get("/api/v1/regressions", params={"suite": "weekly"}).json()["items"]
    assert [item["id"] for item in items] == [other.id]
    assert client.get("/api/v1/regressions", params={"suite": "none"}).json()["items"] == []


def test_a_run_tells_what_changed_and_why_and_keeps_accuracy_apart(client: TestClient, store: Store) -> None:
    last = nights(store, 3)[-1]
    for address in (last.id, last.id[:8], "last"):
        document = client.get(f"/api/v1/regressions/{address}").json()
        assert document["id"] == last.id and document["verdict"] == "changed"
    changed = [case for case in document["predictions"] if case["findings"]]
    assert [case["name"] for case in changed] == ["one H100, chat"]
    assert "gate_up_proj" in changed[0]["why"]
    assert [case["name"] for case in document["accuracy"]] == ["measured"] and len(document["predictions"]) == 2


@pytest.mark.parametrize(("address", "status"), [("r-nothing", 404), ("r-", 404), ("%25", 404)])
def test_a_run_that_is_not_there_or_not_one_is_refused(client: TestClient, store: Store, address: str, status: int) -> None:
    nights(store, 2)
    found = client.get(f"/api/v1/regressions/{address}")
    assert found.status_code == status and found.headers["content-type"].startswith("application/problem+json")


def test_a_wrong_cursor_and_a_missing_key_are_refused(client: TestClient, store: Store) -> None:
    assert client.get("/api/v1/regressions?cursor=abc").status_code == 422
    assert TestClient(client.app).get("/api/v1/regressions").status_code == 401
