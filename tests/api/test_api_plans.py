"""Plans and validations by REST: the documents of the command line, and what is refused."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from db import queries, record, validations
from db.rows import TrialResult, ValidationResult
from db.session import Store
from search.api.bodies import PLAN_EXAMPLE
from search.cli import main
from tests.api.asking import REQUEST, Service

NOW = datetime(2026, 11, 23, tzinfo=UTC)

RAN = ValidationResult(load=1.0, rate_rps=4.0, engine="torch", device="test-cpu", state="faulted", started_at=NOW, finished_at=NOW)


def changed(**fields: Any) -> dict[str, Any]:
    """Returns the example with other fields."""
    return {**copy.deepcopy(PLAN_EXAMPLE), **fields}


def test_a_plan_of_a_service_is_that_of_the_command_line(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "foretold.csv").write_text("hour,rate_rps\n" + "".join(f"{hour},{5 + hour % 3}\n" for hour in range(24)))
    request = tmp_path / "plan.yaml"
    workload = {"prompt_tokens": 300, "output_tokens": 40}
    request.write_text(yaml.safe_dump(changed(demand={"forecast": "foretold.csv"}, workload=workload)))
    found = []
    for before in ([], ["--server", service.url]):
        assert main([*before, "plan", str(request), "--json"]) == 0, capsys.readouterr().err
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["best"] is not None
    assert found[0] == found[1]
    assert main(["--server", service.url, "plan", str(request)]) == 0
    assert "cheapest:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"demand": {"trace": "/etc/passwd"}}, 422, "demand.trace"),
        ({"demand": {"trace": "sha256:" + "0" * 64}}, 422, "trace"),
        ({"demand": {"forecast": "foretold.csv"}}, 422, "demand.forecast"),
        ({"demand": {"preset": "chat", "mean_rps": 1e12}}, 422, "demand.mean_rps"),
        ({"prices": "../prices.yaml"}, 422, "prices"),
        ({"study": "none", "deployments": None, "profiles": None}, 404, None),
        ({"fleet": {"survives": "zone"}}, 422, "fleet.zones"),
        ({"replicas": 3}, 422, "replicas"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_a_line(
    web: TestClient, fields: dict[str, Any], status: int, field: str | None
) -> None:
    body = {name: value for name, value in changed(**fields).items() if value is not None}
    answered = web.post("/api/v1/plans", json=body)
    assert answered.status_code == status, answered.text
    if field is not None:
        assert field in answered.json()["errors"][0]["field"]


@pytest.fixture
def validated(web: TestClient) -> str:
    """Returns the id of a new study whose trial 0 ran at two loads, and faulted at a third."""
    store: Store = web.app.state.service.store  # type: ignore[attr-defined]
    study = record.create_study(store, name="ran", digest="d", request=REQUEST, seed=0, versions={}, kernel_digest="k")
    result = TrialResult(key="a", state="done", deployment={}, kernel_digest="k", seed=0)
    record.upsert_trial(store, study.id, result)
    assert queries.study(store, study.id).name == "ran"
    for load in (0.5, 0.8):
        metrics = {"ttft_s": {"p50": load, "p99": 2 * load}, "tpot_s": {"mean": 0.01}}
        done = replace(RAN, load=load, state="done", measured=metrics, simulated=metrics, errors={"ttft_p50_s": 0.0})
        validations.keep(store, study.id, 0, done)
    validations.keep(store, study.id, 0, replace(RAN, fault_kind="died", fault_reason="the server died"))
    return study.id


def test_validations_are_listed_newest_first_and_by_study(web: TestClient, validated: str) -> None:
    first = web.get("/api/v1/validations", params={"limit": 2}).json()
    assert [(each["study"], each["load"], each["state"]) for each in first["items"]] == [
        (validated, 1.0, "faulted"),
        (validated, 0.8, "done"),
    ]
    assert first["items"][0]["fault"] == {"kind": "died", "reason": "the server died"}
    rest = web.get("/api/v1/validations", params={"cursor": first["next_cursor"], "limit": 1}).json()
    assert [each["load"] for each in rest["items"]] == [0.5]
    assert web.get("/api/v1/validations", params={"device": "H100-SXM"}).json() == {"items": [], "next_cursor": None}
    of_study = web.get(f"/api/v1/studies/{validated}/validations").json()
    assert [each["load"] for each in of_study["items"]] == [0.5, 0.8, 1.0]
    assert {each["metric"] for each in of_study["agreement"]} >= {"ttft_p50_s"}
    assert web.get("/api/v1/corrections").json() == {"items": []}


@pytest.mark.parametrize("query", [{"cursor": "x"}, {"cursor": 0}, {"limit": 0}, {"engine": "a/b"}])
def test_a_wrong_query_of_validations_is_refused(web: TestClient, query: dict[str, Any]) -> None:
    assert web.get("/api/v1/validations", params=query).status_code == 422
