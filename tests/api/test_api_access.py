"""The door: keys, scopes, browsers, rates, sizes, headers; over every route that there is."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import update

from dashboard.example import REQUEST as EXAMPLE
from db import keys
from db.session import Store, open_store
from db.tables import ApiKey
from search.api.access import Access
from search.api.app import application
from search.api.guard import OPEN

HTML = {"accept": "text/html"}
Start = Callable[..., TestClient]


@pytest.fixture
def db(tmp_path: Path) -> str:
    return str(tmp_path / "studies.db")


@pytest.fixture
def store(db: str) -> Iterator[Store]:
    with open_store(db) as opened:
        yield opened


@pytest.fixture
def start(db: str, store: Store) -> Iterator[Start]:
    started: list[TestClient] = []

    def make(access: Access | None = None, base: str = "http://127.0.0.1", app: FastAPI | None = None) -> TestClient:
        # Without its lifespan, which would start the processes for short work.
        made = app or application(db, access=access or Access(on=True))
        made.state.service = type("Opened", (), {"store": store})()
        client = TestClient(made, base_url=base, follow_redirects=False, raise_server_exceptions=False)
        started.append(client)
        return client

    yield make
    for client in started:
        client.close()


def _bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def _calls(app: FastAPI) -> list[tuple[str, str]]:
    """Returns method and path of every route of the application, with something in the place of parameters."""
    found = [
        (method.upper(), re.sub(r"\{[^}]*\}", "x", path))
        for path, operations in app.openapi()["paths"].items()
        for method in operations
    ]
    return [*found, ("GET", "/api/v1/openapi.json"), ("GET", "/api/v1/nothing"), ("GET", "/nothing"), ("POST", "/nothing")]


def _is_open(path: str) -> bool:
    return path in OPEN


def test_every_route_asks_for_a_key_and_takes_no_wrong_expired_or_revoked_one(start: Start, store: Store) -> None:
    _, good = keys.create(store, "good", ["admin"])
    late, expired = keys.create(store, "late", ["admin"], datetime.now(UTC) + timedelta(hours=1))
    with store.write() as session:
        session.execute(update(ApiKey).where(ApiKey.id == late.id).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    _, revoked = keys.create(store, "gone", ["admin"])
    keys.revoke(store, "gone")
    client = start(Access(on=True, failures="10000/minute", per_address="100000/minute"))
    closed = [call for call in _calls(client.app) if not _is_open(call[1])]  # type: ignore[arg-type]
    assert len(closed) > 10
    for method, path in closed:
        assert client.request(method, path).status_code == 401, f"{method} {path} is open"
    for wrong in ("", "x", "trimtab_x_y", "trimtab_ _", good[:-1], good + "x", "\u00e9", expired, revoked):
        for method, path in closed if wrong in (good[:-1], expired, revoked) else closed[:1]:
            answer = client.request(method, path, headers=[(b"X-API-Key", wrong.encode())])
            assert answer.status_code == 401, f"{method} {path} takes {wrong[:9]}"
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["www-authenticate"] == "Bearer"


def test_every_route_that_changes_something_refuses_a_key_that_may_only_read(start: Start, store: Store) -> None:
    _, reader = keys.create(store, "reader", ["read"])
    _, submitter = keys.create(store, "submitter", ["submit"])
    client = start()
    calls = _calls(client.app)  # type: ignore[arg-type]
    # They store nothing, and what they compute is bounded.
    reading = ("/compare", "/quotes", "/best", "/simulate", "/capacity", "/plans")
    changing = [(m, p) for m, p in calls if m not in ("GET", "HEAD") and p.startswith("/api/v1/") and not p.endswith(reading)]
    refused = {call for call in changing if client.request(*call, headers=_bearer(reader)).status_code == 403}
    assert ("POST", "/api/v1/studies") in refused
    assert refused == set(changing)
    assert client.delete("/api/v1/studies/x", headers=_bearer(submitter)).status_code == 403


def test_a_scope_includes_the_smaller_ones_and_no_larger_one(start: Start, store: Store) -> None:
    client = start()
    for scope, reads in (("read", True), ("submit", True), ("admin", True)):
        _, secret = keys.create(store, scope, [scope])
        assert (client.get("/api/v1/studies", headers=_bearer(secret)).status_code == 200) is reads


def test_a_key_is_stored_hashed_and_its_use_is_noted(start: Start, store: Store, db: str) -> None:
    row, secret = keys.create(store, "ci", ["read"], quota=3)
    assert row.last_used_at is None
    assert start().get("/api/v1/studies", headers=_bearer(secret)).status_code == 200
    (used,) = keys.keys(store)
    assert used.last_used_at is not None
    store.close()
    written = b"".join(path.read_bytes() for path in Path(db).parent.iterdir() if path.is_file())
    assert secret.encode() not in written and secret.rpartition("_")[2].encode() not in written


def test_no_secret_is_logged(
    start: Start, store: Store, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    _, secret = keys.create(store, "ci", ["admin"])
    client = start()
    with caplog.at_level(logging.DEBUG):
        client.get("/api/v1/studies", headers=_bearer(secret))
        client.get("/api/v1/studies/none", headers={"X-API-Key": secret})
        client.get("/api/v1/studies", headers=_bearer(secret + "x"))
        token = _logged_in(client, secret)
        client.get("/api/v1/studies")
    out, err = capfd.readouterr()
    told = " ".join([out, err, *(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)])
    assert secret not in told and secret.rpartition("_")[2] not in told and token not in told


def _logged_in(client: TestClient, secret: str, after: str = "/api/v1/studies") -> str:
    form = re.search(r'name="form" value="([^"]+)"', client.get("/login").text)
    assert form is not None
    answer = client.post("/login", data={"form": form[1], "key": secret, "next": after})
    assert answer.status_code == 303, answer.text
    cookie = answer.headers.get_list("set-cookie")[0]
    assert "httponly" in cookie.lower() and "samesite=lax" in cookie.lower()
    return cookie.partition("=")[2].partition(";")[0]


def test_a_browser_logs_in_reads_and_logs_out(start: Start, store: Store) -> None:
    _, secret = keys.create(store, "person", ["submit"])
    client = start()
    away = client.get("/studies", headers=HTML)
    assert (away.status_code, away.headers["location"]) == (303, "/login?next=/studies")
    token = _logged_in(client, secret)
    assert client.get("/api/v1/studies").status_code == 200
    assert client.post("/api/v1/studies", json={}, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.post("/api/v1/studies", json={}, headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.post("/api/v1/studies", json={}, headers={"Origin": "http://127.0.0.1"}).status_code == 422
    assert client.post("/logout").status_code == 303
    client.cookies.set("trimtab_session", token)
    assert client.get("/api/v1/studies").status_code == 401, "what the cookie held counts no more"


def test_a_login_ends_with_its_key(start: Start, store: Store) -> None:
    row, secret = keys.create(store, "person", ["read"])
    client = start()
    _logged_in(client, secret)
    keys.revoke(store, row.id)
    assert client.get("/api/v1/studies").status_code == 401


def test_a_login_form_of_another_site_is_refused_and_so_is_a_wrong_key(start: Start, store: Store) -> None:
    _, secret = keys.create(store, "person", ["read"])
    client = start()
    assert client.post("/login", data={"key": secret, "form": "x"}).status_code == 403
    form = re.search(r'name="form" value="([^"]+)"', client.get("/login?next=//evil.example").text)
    assert form is not None
    answer = client.post("/login", data={"form": form[1], "key": "<b>", "next": "https://evil.example/"})
    assert answer.status_code == 401
    assert 'name="next" value="/"' in answer.text and "<b>" not in answer.text
    assert client.post("/login", content=b"x" * 5000).status_code == 413


def test_over_tls_the_cookie_is_secure_and_hsts_is_sent(start: Start, store: Store) -> None:
    _, secret = keys.create(store, "person", ["read"])
    client = start(base="https://127.0.0.1")
    _logged_in(client, secret)
    assert all("secure" in cookie.lower() for cookie in client.get("/login").headers.get_list("set-cookie"))
    assert "max-age" in client.get("/healthz").headers["strict-transport-security"]
    assert "strict-transport-security" not in start().get("/healthz").headers
    assert client.get("/api/v1/studies").status_code == 200
    assert "__Host-trimtab_session" in client.cookies


@pytest.mark.parametrize("path", ["/healthz", "/login", "/api/v1/studies", "/nothing"])
def test_every_answer_has_security_headers(start: Start, path: str) -> None:
    headers = start().get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_wrong_keys_and_many_requests_are_answered_with_429(start: Start, store: Store) -> None:
    _, secret = keys.create(store, "ci", ["read"])
    client = start(Access(on=True, failures="3/minute"))
    wrong = [client.get("/api/v1/studies", headers=_bearer("no")).status_code for _ in range(5)]
    assert wrong == [401, 401, 401, 429, 429]
    answer = client.get("/api/v1/studies", headers=_bearer(secret))
    assert answer.status_code == 429 and 1 <= int(answer.headers["retry-after"]) <= 121
    limited = start(Access(on=True, per_key="2/minute"))
    assert [limited.get("/api/v1/studies", headers=_bearer(secret)).status_code for _ in range(3)] == [200, 200, 429]
    crowded = start(Access(on=True, per_address="2/minute"))
    assert [crowded.get("/healthz").status_code for _ in range(3)] == [200, 200, 429]


def test_without_keys_only_this_machine_is_answered(start: Start) -> None:
    client = start(Access(on=False))
    assert client.get("/api/v1/studies").status_code == 200
    assert client.get("/api/v1/studies", headers={"Host": "evil.example"}).status_code == 403
    assert client.get("/api/v1/studies", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 403
    assert client.post("/api/v1/studies", json={}, headers={"Origin": "http://evil.example"}).status_code == 403


def test_a_body_that_is_too_large_is_refused(start: Start, store: Store) -> None:
    _, secret = keys.create(store, "ci", ["submit"])
    client = start()
    large = b'{"name": "' + b"x" * (2 * 2**20) + b'"}'
    headers = {**_bearer(secret), "Content-Type": "application/json"}
    answer = client.post("/api/v1/studies", content=large, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "..%5c..%5cwin.ini", "%00"]
)
def test_a_name_that_is_a_path_opens_nothing(start: Start, store: Store, name: str) -> None:
    _, secret = keys.create(store, "ci", ["admin"])
    client = start()
    for place in ("/api/v1/studies/", "/api/v1/catalog/devices/", "/api/v1/traces/"):
        answer = client.get(place + name, headers=_bearer(secret))
        assert answer.status_code in (404, 405, 422), f"{place}{name}: {answer.status_code}"
        assert "root:" not in answer.text


def test_what_fails_inside_is_told_with_the_same_headers_and_nothing_more(start: Start) -> None:
    app = application("unused.db", access=Access(on=False))

    @app.get("/breaks")
    def breaks() -> None:
        raise RuntimeError("a secret of the server")

    # The route that refuses what is not there stands before it.
    app.router.routes.insert(0, app.router.routes.pop())
    answer = start(app=app, base="http://127.0.0.1").get("/breaks")
    assert answer.status_code == 500 and answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff" and "content-security-policy" in answer.headers


def test_a_key_with_its_quota_of_studies_is_told_to_wait(start: Start, store: Store) -> None:
    _, secret = keys.create(store, "ci", ["submit"], quota=1)
    client = start(Access(on=True))
    document = {**EXAMPLE, "name": "first"}
    assert client.post("/api/v1/studies", json=document, headers=_bearer(secret)).status_code == 202
    refused = client.post("/api/v1/studies", json={**document, "name": "second"}, headers=_bearer(secret))
    assert refused.status_code == 429 and "may have 1" in refused.json()["detail"]
    assert int(refused.headers["retry-after"]) > 0
