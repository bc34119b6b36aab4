"""Webhooks by REST, for admins alone, and a whole service that sends them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from db import keys, webhooks
from db.session import Store, open_store
from db.webhook_rows import EVENTS
from search.api.access import Access
from search.api.app import application
from search.client import Client
from search.delivering import Sending, send_due
from tests.api.asking import REQUEST, Service, until
from tests.receiver import receiving

HOOKS = "/api/v1/webhooks"
URL = "https://example.com/hook"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "s.db") as opened:
        yield opened


@pytest.fixture
def client(store: Store) -> TestClient:
    app = application(store.place, access=Access(on=True))
    app.state.service = SimpleNamespace(store=store, bounded=SimpleNamespace(busy=0))
    _, secret = keys.create(store, "boss", ["admin"])
    return TestClient(app, headers={"Authorization": f"Bearer {secret}"}, raise_server_exceptions=False)


def test_a_secret_is_shown_once_and_a_webhook_listed_until_it_is_removed(client: TestClient) -> None:
    added = client.post(HOOKS, json={"url": URL, "on": ["study.failed", "regression"]})
    assert added.status_code == 201
    made = added.json()
    secret = made.pop("secret")
    assert secret.startswith("whsec_") and made["on"] == ["study.failed", "regression"]
    listed = client.get(HOOKS)
    assert listed.json()["items"] == [made] and secret not in listed.text
    assert client.post(HOOKS, json={"url": URL}).json()["on"] == list(EVENTS)
    assert client.delete(f"{HOOKS}/{made['id']}").status_code == 204
    assert made["id"] not in client.get(HOOKS).text
    for method, path in (("DELETE", ""), ("POST", "/test"), ("GET", "/deliveries")):
        gone = client.request(method, f"{HOOKS}/{made['id']}{path}")
        assert gone.status_code == 404 and gone.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "file:///etc/passwd"}, "url"),
        ({"url": 5}, "url"),
        ({"url": URL, "on": ["study.won"]}, "on"),
        ({"url": URL, "on": "study.done"}, "on"),
        ({"url": URL, "when": "now"}, "when"),
    ],
)
def test_a_wrong_webhook_is_refused_by_its_field(client: TestClient, body: dict[str, Any], field: str) -> None:
    answer = client.post(HOOKS, json=body)
    assert answer.status_code == 422 and answer.json()["errors"][0]["field"].startswith(field)
    assert client.get(HOOKS).json()["items"] == []


def test_only_an_admin_may_even_look(client: TestClient, store: Store) -> None:
    hook = client.post(HOOKS, json={"url": URL}).json()["id"]
    for scope in ("read", "submit"):
        _, secret = keys.create(store, scope, [scope])
        for method, path in (
            ("GET", ""),
            ("POST", ""),
            ("DELETE", f"/{hook}"),
            ("POST", f"/{hook}/test"),
            ("GET", f"/{hook}/deliveries"),
        ):
            answer = client.request(
                method, HOOKS + path, json={"url": URL} if method == "POST" else None, headers={"Authorization": f"Bearer {secret}"}
            )
            assert answer.status_code == 403, f"{scope} may {method} {path}"
    assert len(client.get(HOOKS).json()["items"]) == 1 and webhooks.deliveries(store) == []


def test_deliveries_come_in_pages_and_tell_what_came_of_them(client: TestClient, store: Store) -> None:
    with receiving(204, 500) as receiver:
        hook = client.post(HOOKS, json={"url": receiver.url}).json()["id"]
        other = client.post(HOOKS, json={"url": URL}).json()["id"]
        made = []
        for _ in range(3):
            sent = client.post(f"{HOOKS}/{hook}/test")
            assert sent.status_code == 202 and sent.json()["state"] == "waiting" and sent.json()["event"] == "ping"
            made.append(sent.json()["id"])
            send_due(store, Sending(to_private=True), only=made[-1])
        first = client.get(f"{HOOKS}/{hook}/deliveries", params={"limit": 2}).json()
        rest = client.get(f"{HOOKS}/{hook}/deliveries", params={"cursor": first["next_cursor"]}).json()
        items = [*first["items"], *rest["items"]]
        assert [item["id"] for item in items] == made[::-1] and rest["next_cursor"] is None
        assert [(item["state"], item["status"]) for item in items] == [("failed", 500), ("failed", 500), ("done", 204)]
        assert items[0]["error"] == "it answered 500" and items[0]["next_attempt_at"] is None
        assert client.get(f"{HOOKS}/{other}/deliveries").json()["items"] == []
        told = client.get("/metrics").text
        assert 'trimtab_webhook_deliveries{state="failed"} 2.0' in told and 'state="waiting"} 0.0' in told


@pytest.mark.slow
def test_a_service_tells_when_a_study_has_ended_and_its_worker_sends_what_it_could_not_before(
    serve: Callable[..., Service],
) -> None:
    with receiving() as receiver:
        closed = serve()
        with httpx.Client(base_url=closed.url, timeout=60) as http:
            made = http.post(HOOKS, json={"url": receiver.url, "on": ["study.done"]}).json()
            with Client(closed.url) as client:
                study = client.submit(REQUEST).id
                list(client.events(study))
            rows: list[dict[str, Any]] = []

            def tried() -> bool:
                rows[:] = http.get(f"{HOOKS}/{made['id']}/deliveries").json()["items"]
                return bool(rows) and rows[0]["attempts"] > 0 and rows[0]["error"] is not None

            until(tried, 60, "nothing was tried")
            assert "--webhooks-to-private" in rows[0]["error"] and receiver.got == []
        assert closed.end() == 0
        allowed = serve("--webhooks-to-private")
        until(lambda: bool(receiver.got), 90, "nothing was sent")
        (got,) = receiver.got
        assert got.is_signed_by(made["secret"]) and json.loads(got.body)["data"]["id"] == study
        assert got.headers["webhook-id"] == rows[0]["id"]
        assert allowed.end() == 0
