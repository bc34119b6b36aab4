"""The use cases: a study from request to store on every executor, a capacity, and what each refuses."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from db import queries
from db.rows import StudyRow, TrialRow
from db.session import open_store
from search import documents, driver, service
from search.driver import Stopped
from search.fidelity import ANSWER, Fidelity
from search.progress import Progress
from search.request import SearchRequest
from search.trial import Scored, Task, evaluate
from simulator.errors import Infeasible, InputError
from simulator.scenario import Scenario

LEVELS = {
    "SCREEN": Fidelity(requests=300, seeds=1, tolerance=0.02, spread=0.2, latency_spread=0.5),
    "RESCORE": Fidelity(requests=500, seeds=1, tolerance=0.02, spread=0.1, latency_spread=0.2),
    "FINAL": Fidelity(requests=1_000, seeds=2, tolerance=0.02, spread=0.1, latency_spread=0.2),
}
REQUEST: dict[str, Any] = {
    "name": "chat-8b",
    "model": "meta-llama/Llama-3.1-8B",
    "workload": {"preset": "chat"},
    "slo": {"ttft_p99_s": 2.0, "itl_p99_s": 0.2},
    "prices": "cloud-2026-11",
    "profiles": [{"source": "roofline"}],
    "space": {"device": ["H100-SXM", "L40S"], "max_num_batched_tokens": [512, 2048], "max_model_len": 16384},
    "budget": {"max_gpus": 8, "trials": 4},
}
SCENARIO: dict[str, Any] = {
    "deployment": {"model": "meta-llama/Llama-3.1-8B", "device": "H100-SXM", "max_model_len": 16384},
    "workload": {"preset": "chat", "num_requests": 5_000},
    "slo": {"ttft_p99_s": 2.0, "itl_p99_s": 0.2},
    "prices": "cloud-2026-11",
    "profiles": [{"source": "roofline"}],
}


@pytest.fixture(autouse=True)
def _short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, fidelity in LEVELS.items():
        monkeypatch.setattr(driver, name, fidelity)


@pytest.fixture
def db(tmp_path: Path) -> str:
    """Returns the path of a store that is not there yet."""
    return str(tmp_path / "studies.db")


def parsed(**changes: Any) -> SearchRequest:
    """Returns the small request with other fields."""
    return SearchRequest.parse(REQUEST | changes)


def rows(db: str, study: str) -> tuple[StudyRow, list[TrialRow]]:
    """Returns a study with its trials."""
    with open_store(db) as store:
        return queries.study(store, study), queries.trials(store, study)


def frontier(db: str, study: str) -> str:
    """Returns the document of `search --json` as text, but for the study's random id."""
    with open_store(db) as store:
        row = replace(queries.study(store, study), id="s-0")
        return json.dumps(documents.frontier(row, queries.frontier(store, study), queries.trials(store, study)))


# A study


def test_a_study_is_stored_whole_and_ends_done(db: str) -> None:
    heard: list[Progress] = []
    study = service.run_search(parsed(), db=db, executor="inline", report=heard.append)
    row, trials = rows(db, study)
    assert (row.state, len(trials)) == ("done", 4)
    assert row.summary is not None
    assert row.summary["frontier_points"] == len(json.loads(frontier(db, study))["items"]) > 0
    assert row.summary["executor"].startswith("inline")
    assert row.summary["sampler"] and row.summary["left_out"] == 0
    assert heard[0].sentence == row.summary["executor"]
    assert row.versions == service.versions()
    assert {trial.kernel_digest for trial in trials} == {row.kernel_digest}


@pytest.mark.parametrize("changes", [{}, {"demand": {"rate_rps": 30.0}}, {"sampler": "tpe", "seed": 3}])
def test_threads_store_the_bytes_that_one_after_another_stores(db: str, changes: dict[str, Any], tmp_path: Path) -> None:
    other = str(tmp_path / "other.db")
    one = frontier(db, service.run_search(parsed(**changes), db=db, executor="inline"))
    assert frontier(other, service.run_search(parsed(**changes), db=other, executor="threads")) == one
    assert len(json.loads(one)["items"]) > 0


def test_another_seed_is_another_study_with_other_numbers(db: str) -> None:
    first, second = (service.run_search(parsed(seed=seed), db=db, executor="inline") for seed in (0, 1))
    assert first != second
    assert frontier(db, first) != frontier(db, second)


def evaluate_and_sign(task: Task) -> Scored:
    """Returns the trial with the process that scored it in its notes."""
    scored = evaluate(task)
    return replace(scored, notes=(*scored.notes, f"process {os.getpid()}"))


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    """Starts one Ray for this file, which the executor then finds running."""
    before = os.environ.get("RAY_AUTH_MODE")
    os.environ["RAY_AUTH_MODE"] = "disabled"
    from search.executor.ray import RayExecutor

    with RayExecutor(workers=2):
        yield
    if before is None:
        del os.environ["RAY_AUTH_MODE"]


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
@pytest.mark.parametrize("changes", [{}, {"demand": {"rate_rps": 30.0}}])
def test_ray_stores_the_bytes_that_one_after_another_stores(db: str, changes: dict[str, Any], tmp_path: Path) -> None:
    other = str(tmp_path / "other.db")
    one = frontier(db, service.run_search(parsed(**changes), db=db, executor="inline"))
    assert frontier(other, service.run_search(parsed(**changes), db=other, executor="ray")) == one


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_trials_run_in_rays_processes(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "evaluate", evaluate_and_sign)
    _, trials = rows(db, service.run_search(parsed(), db=db, executor="ray"))
    processes = {note for trial in trials for note in trial.provenance["notes"] if note.startswith("process ")}
    assert processes
    assert f"process {os.getpid()}" not in processes


# Stopping, resuming, failing


def test_a_stopped_study_is_cancelled_and_the_same_request_resumes_it(db: str, tmp_path: Path) -> None:
    other = str(tmp_path / "other.db")
    expected = frontier(other, service.run_search(parsed(), db=other, executor="inline"))
    heard: list[Progress] = []
    with pytest.raises(Stopped):
        service.run_search(parsed(), db=db, executor="inline", report=heard.append, stop=lambda: heard[-1].done >= 2)
    with open_store(db) as store:
        (line,) = queries.studies(store)
    assert (line.study.state, dict(line.trials)) == ("cancelled", {"done": 2})
    heard.clear()
    study = service.run_search(parsed(), db=db, executor="inline", report=heard.append)
    assert study == line.study.id
    assert f"resuming {study}, which has 2 trials" in {progress.sentence for progress in heard}
    assert frontier(db, study) == expected


def test_what_other_software_began_is_not_continued(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "versions", lambda: {"trimtab": "0.0.1"})
    with pytest.raises(Stopped):
        service.run_search(parsed(), db=db, executor="inline", stop=lambda: True)
    monkeypatch.undo()
    for name, fidelity in LEVELS.items():
        monkeypatch.setattr(driver, name, fidelity)
    service.run_search(parsed(), db=db, executor="inline")
    with open_store(db) as store:
        assert [line.study.state for line in queries.studies(store)] == ["done", "cancelled"]


def test_a_finished_study_is_not_continued_but_made_anew(db: str) -> None:
    first, second = (service.run_search(parsed(), db=db, executor="inline") for _ in range(2))
    assert first != second
    assert frontier(db, first) == frontier(db, second)


def test_an_error_leaves_a_failed_study_with_its_reason(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(study: driver.Study) -> None:
        raise RuntimeError("bug")

    monkeypatch.setattr(driver.Study, "run", broken)
    with pytest.raises(RuntimeError):
        service.run_search(parsed(), db=db, executor="inline")
    with open_store(db) as store:
        (line,) = queries.studies(store)
    assert line.study.state == "failed"
    assert line.study.summary == {"sentence": "RuntimeError: bug"}


def test_a_slo_that_nothing_keeps_is_infeasible_in_one_line(db: str) -> None:
    with pytest.raises(Infeasible) as told:
        service.run_search(parsed(slo={"ttft_p99_s": 1e-6}), db=db, executor="inline")
    assert "\n" not in str(told.value)
    assert "none of 4 deployments keeps the SLO" in str(told.value)
    with open_store(db) as store:
        (line,) = queries.studies(store)
    assert (line.study.state, dict(line.trials)) == ("infeasible", {"infeasible": 4})


def test_a_space_without_a_legal_deployment_is_refused_and_not_left_running(db: str) -> None:
    with pytest.raises(InputError):
        service.run_search(parsed(space={"device": "H100-SXM", "tensor_parallel_size": 3}), db=db, executor="inline")
    with open_store(db) as store:
        assert [line.study.state for line in queries.studies(store)] == ["failed"]


def test_objectives_without_prices_need_no_book(db: str) -> None:
    asked = parsed(prices=None, objectives=["output_tokens_per_gpu_s", "ttft_p99_s"])
    items = json.loads(frontier(db, service.run_search(asked, db=db, executor="inline")))["items"]
    assert items
    assert all(item["bill"] is None and item["metrics"]["usd_per_hour"] is None for item in items)


def test_a_trace_is_searched_and_what_was_done_to_it_is_told(db: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clock, lines = datetime(2023, 11, 16, 18, 0, tzinfo=UTC), ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    for gap, prompt, output in zip(rng.exponential(0.2, 400), rng.integers(9, 2_000, 400), rng.integers(9, 400, 400), strict=True):
        clock += timedelta(seconds=float(gap))
        lines.append(f"{clock:%Y-%m-%d %H:%M:%S.%f}0,{prompt},{output}")
    trace = tmp_path / "azure.csv"
    trace.write_text("\n".join(lines) + "\n")
    study = service.run_search(parsed(workload={"trace": str(trace)}), db=db, executor="inline")
    row, _ = rows(db, study)
    assert row.state == "done" and row.summary is not None
    assert any("drawn from the trace's 400 rows" in note for note in row.summary["notes"])


# A capacity


def test_a_capacity_has_its_interval_its_curve_and_where_it_comes_from() -> None:
    document = service.run_capacity(Scenario.parse(SCENARIO))
    rate = document["capacity_rps"]
    assert rate["low"] < rate["value"] < rate["high"] and rate["level"] == 0.95
    assert document["binding"] in {"ttft_p99_s", "itl_p99_s", "backlog"}
    assert (document["requests"], document["seeds"]) == (5_000, ANSWER.seeds)
    rates = [point["rate_rps"] for point in document["curve"]]
    assert rates == sorted(rates) and document["safe_rps"] in rates
    assert all(point["metrics"]["usd_per_million_output_tokens"] > 0 for point in document["curve"])
    assert document["bill"]["usd_per_hour"] > 0
    assert document["provenance"]["engine"] == "counter"
    assert json.dumps(service.run_capacity(Scenario.parse(SCENARIO))) == json.dumps(document)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slo": None}, r"^slo: None is not allowed"),
        ({"workload": {"preset": "chat", "num_requests": 4_999}}, r"^workload\.num_requests: 4999 is not allowed; allowed: 5,000"),
    ],
)
def test_a_capacity_that_would_not_hold_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        service.run_capacity(Scenario.parse(SCENARIO | changes))


def test_a_simulation_needs_a_rate_or_a_clock() -> None:
    with pytest.raises(InputError, match=r"^workload\.rate_rps: None is not allowed"):
        service.run_simulation(Scenario.parse(SCENARIO))
    done = service.run_simulation(Scenario.parse(SCENARIO | {"workload": {"preset": "chat", "num_requests": 300, "rate_rps": 5.0}}))
    assert done.document["metrics"]["requests"] == len(done.traffic) == 300
    assert done.document["metrics"]["slo_met"] is True
