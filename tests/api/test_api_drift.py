"""Drift by REST: the documents of the command line, what webhooks are told, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from db import queries, record
from db.rows import TrialResult
from db.session import Store, open_store
from db.webhooks import add, deliveries
from search.cli import main
from tests.api.asking import REQUEST, Service
from tests.api.newer import write

pytestmark = pytest.mark.slow

ABSENT = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def sized(service: Service) -> str:
    """Returns the URL of the service's store, which has a study that is sized for a demand."""
    place = Path(service.log.name).with_suffix("")
    request = place.parent / "sized.yaml"
    request.write_text(yaml.safe_dump({**REQUEST, "name": "sized", "demand": {"rate_rps": 20.0}}))
    assert main(["--server", service.url, "search", str(request)]) == 0
    return f"sqlite:///{place}"


def said(capsys: pytest.CaptureFixture[str], status: int, *words: str) -> str:
    """Returns what a command line prints."""
    capsys.readouterr()
    assert main(words) == status, capsys.readouterr().err
    return capsys.readouterr().out


def test_a_service_says_of_a_trace_what_the_command_says(
    service: Service, sized: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = str(write(tmp_path / "same.csv", 20.0))
    here = json.loads(said(capsys, 0, "drift", "sized", trace, "--db", sized, "--json"))
    there = json.loads(said(capsys, 0, "--server", service.url, "drift", "sized", trace, "--json"))
    assert here["trace"].pop("trace") == trace and there["trace"].pop("trace").startswith("sha256:")
    assert here == there and there["standing"]["stands"]
    lines = said(capsys, 0, "--server", service.url, "drift", "sized", trace).splitlines()
    assert lines[0].startswith("sized (") and ": stands: " in lines[0]


def test_an_answer_that_fell_is_told_to_webhooks(
    service: Service, sized: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store(sized) as store:
        hook, _ = add(store, "https://example.com/hook", ["drift"])
    trace = str(write(tmp_path / "grown.csv", 2_000.0))
    found = json.loads(said(capsys, 1, "--server", service.url, "drift", "sized", trace, "--json"))
    assert "request rate" in found["drifted"] and not found["standing"]["stands"]
    with open_store(sized) as store:
        assert [each.event for each in deliveries(store, webhook_id=hook.id)] == ["drift"]


def test_a_search_is_not_asked_of_a_service_this_way(service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = str(write(tmp_path / "same.csv", 20.0))
    assert main(["--server", service.url, "drift", "sized", trace, "--search"]) == 2
    assert capsys.readouterr().err.startswith("--search: 'given' is not allowed; allowed: nothing with --server")


@pytest.fixture(scope="module")
def study(web: TestClient) -> str:
    """Returns the id of a study with one trial, which has no answer, and of another that names a file."""
    store: Store = web.app.state.service.store  # type: ignore[attr-defined]
    for name, request in (("asked", REQUEST), ("local", {**REQUEST, "workload": {"trace": "/tmp/requests.csv"}})):
        row = record.create_study(store, name=name, digest=name, request=request, seed=0, versions={}, kernel_digest="k")
        record.upsert_trial(
            store, row.id, TrialResult(key="a", state="infeasible", reason="too slow", deployment={}, kernel_digest="k", seed=0)
        )
    return queries.study(store, "asked").id


@pytest.mark.parametrize(
    ("name", "fields", "status", "field"),
    [
        ("asked", {"trace": "/etc/passwd"}, 422, "trace"),
        ("asked", {"trace": ABSENT}, 422, "trace"),
        ("asked", {}, 422, "trace"),
        ("asked", {"trace": ABSENT, "rate_rps": 0}, 422, "rate_rps"),
        ("asked", {"trace": ABSENT, "rate_rps": -1.0}, 422, "rate_rps"),
        ("asked", {"trace": ABSENT, "replicas": 0}, 422, "replicas"),
        ("asked", {"trace": ABSENT, "tolerance": 1.0}, 422, "tolerance"),
        ("asked", {"trace": ABSENT, "seed": -1}, 422, "seed"),
        ("asked", {"trace": ABSENT, "search": True}, 422, "search (unknown field)"),
        ("local", {"trace": ABSENT}, 422, "workload.trace"),
        ("nobody", {"trace": ABSENT}, 404, "study"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_line(
    web: TestClient, study: str, name: str, fields: dict[str, Any], status: int, field: str
) -> None:
    answered = web.post(f"/api/v1/studies/{name}/drift", json=fields)
    assert answered.status_code == status, answered.text
    assert answered.json()["errors"][0]["field"] == field
