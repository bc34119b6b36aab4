"""Errors of the REST API: problem details for everything that is wrong, and nothing that a client can make of it a 5xx."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from search.api.bodies import SCENARIO_EXAMPLE
from search.api.errors import MEDIA_TYPE
from tests.api.asking import REQUEST

PATHS = [
    {"workload": {"trace": "/etc/passwd"}},
    {"workload": {"trace": "../requests.csv"}},
    {"workload": {"trace": "requests.csv"}},
    {"workload": {"trace": "sha256:abc"}},
    {"workload": {"trace": "file:///etc/passwd"}},
    {"prices": "/etc/prices.yaml"},
    {"prices": "book.yaml"},
    {"profiles": [{"source": "vidur_tables", "path": "table.npz"}]},
    {"profiles": [{"source": "own", "name": "../../x"}]},
    {"profiles": [{"source": "vidur", "path": "tables", "node": "../.."}]},
    {"model": "/root/models/llama"},
    {"model": "../model"},
    {"model": "https://example.com/model"},
    {"engine": "../../etc/passwd"},
]


def problem(response: Any, status: int) -> dict[str, Any]:
    """Returns the problem details of a response."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE
    found: dict[str, Any] = response.json()
    assert found["status"] == status
    assert {"type", "title", "detail", "instance"} <= set(found)
    assert "Traceback" not in response.text
    return found


@pytest.mark.parametrize("change", PATHS, ids=lambda change: json.dumps(change)[:60])
def test_a_path_in_a_request_is_refused_and_never_opened(
    web: TestClient, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("a file of a request was opened")

    monkeypatch.setattr("simulator.scenario.content_hash", opened)
    found = problem(web.post("/api/v1/studies", json={**REQUEST, **change}), 422)
    (error,) = found["errors"]
    assert error["field"].split(".")[0] in change


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/nothing", 404),
        ("GET", "/api/v1/studies/s-none/frontier", 404),
        ("DELETE", "/api/v1/studies/s-none", 404),
        ("GET", "/api/v1/catalog/nothing", 404),
        ("GET", "/api/v1/catalog/devices/nothing", 404),
        ("GET", "/api/v1/studies?limit=0", 422),
        ("GET", "/api/v1/studies?cursor=zzz", 422),
        ("GET", "/api/v1/studies?since=yesterday", 422),
        ("GET", "/api/v1/studies?since=2026-01-01T00:00:00", 422),
        ("GET", "/api/v1/studies/%00/frontier", 422),
        ("GET", "/api/v1/simulate", 405),
        ("PUT", "/api/v1/studies", 405),
    ],
)
def test_a_wrong_address_or_query_is_told(web: TestClient, method: str, path: str, status: int) -> None:
    found = problem(web.request(method, path), status)
    if status == 422:
        assert found["errors"]


def test_a_method_that_an_address_does_not_take_tells_those_that_it_takes(web: TestClient) -> None:
    assert web.put("/api/v1/studies").headers["allow"] == "GET, POST"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"[]", 422),
        (b"null", 422),
        (b"\xff\xfe", 422),
        (b'"\xff"', 400),
        (b'{"name": NaN}', 422),
        (b"[" * 5000, 400),
        (b'{"name": "' + b"x" * 30_000 + b'"}', 413),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_body_that_is_no_request_is_told(web: TestClient, body: bytes, status: int) -> None:
    problem(web.post("/api/v1/studies", content=body, headers={"Content-Type": "application/json"}), status)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "a\x00b"},
        {"name": "\ud800"},
        {"seed": 2**70},
        {"seed": -1},
        {"slo": {}},
        {"slo": {"ttft_p99_ms": 3}},
        {"space": {"device": []}},
        {"space": {"max_num_batched_tokens": {"low": 1, "high": 1e300, "step": 1e-9}}},
        {"budget": {"trials": 0}},
        {"foo": 1, "model": "none"},
        {"workload": {"preset": "chat", "classes": {"a" * 20_000: {}}}},
    ],
    ids=lambda change: repr(change)[:40],
)
def test_every_wrong_field_is_named(web: TestClient, change: dict[str, Any]) -> None:
    body = json.dumps({**REQUEST, **change}).encode()
    response = web.post("/api/v1/studies", content=body, headers={"Content-Type": "application/json"})
    if len(body) > 20_000:
        problem(response, 413)
        return
    found = problem(response, 422)
    assert found["errors"][0]["field"].split(".")[0].split(" ")[0] in change


def test_several_wrong_fields_are_told_at_once(web: TestClient) -> None:
    found = problem(web.post("/api/v1/simulate", json={**SCENARIO_EXAMPLE, "prices": 3, "profiles": "x"}), 422)
    assert {error["field"] for error in found["errors"]} == {"prices", "profiles"}


def test_a_simulation_is_answered_and_too_large_a_one_is_refused(web: TestClient) -> None:
    small = {
        **SCENARIO_EXAMPLE,
        "workload": {
            "prompt_tokens": {"uniform": {"low": 50, "high": 150}},
            "output_tokens": {"uniform": {"low": 2, "high": 8}},
            "rate_rps": 1.0,
            "num_requests": 20,
        },
    }
    done = web.post("/api/v1/simulate", json=small)
    assert done.status_code == 200, done.text
    assert done.json()["metrics"]["requests"] == 20
    large = {**small, "workload": {**small["workload"], "num_requests": 5_001}}
    found = problem(web.post("/api/v1/simulate", json=large), 422)
    assert found["errors"][0]["field"] == "workload.num_requests"
    many = {**small, "deployment": {**small["deployment"], "replicas": 10**9}}
    assert problem(web.post("/api/v1/simulate", json=many), 422)["errors"][0]["field"] == "deployment.replicas"


def test_an_infeasible_deployment_is_told_apart(web: TestClient) -> None:
    scenario = {**SCENARIO_EXAMPLE, "deployment": {"model": "meta-llama/Llama-3.1-70B", "device": "L4"}}
    found = problem(web.post("/api/v1/simulate", json=scenario), 422)
    assert found["type"] == "urn:trimtab:problem:infeasible"


def test_the_document_of_the_api_names_every_error(web: TestClient) -> None:
    paths = web.get("/api/v1/openapi.json").json()["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            if path.startswith("/api/"):
                assert {"401", "403", "429"} <= set(operation["responses"]), f"{method} {path}"
            if "requestBody" in operation:
                assert {"400", "413", "422"} <= set(operation["responses"]), f"{method} {path}"


def test_health_readiness_and_measures(web: TestClient) -> None:
    assert web.get("/healthz").json() == {"status": "ok"}
    assert web.get("/readyz").json()["parts"]["store"] == "ok"
    text = web.get("/metrics").text
    assert 'trimtab_requests_total{method="GET",route="/healthz",status="200"}' in text
