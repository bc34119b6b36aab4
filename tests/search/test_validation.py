"""Validation of a study: finalists apart, faults stored, nothing measured twice, the rest still run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from db import queries, record, validations
from db.rows import PointResult, TrialResult
from db.session import Store, open_store
from profiler.validate import Compared, Wrong
from profiler.validating import Fault, Job, Run
from search import placement, validation
from search.cli import main
from search.request import SearchRequest
from search.validation import Server
from simulator.correction import corrected, with_factors
from simulator.draw import draw
from simulator.errors import InputError
from simulator.measure import metrics
from simulator.resolve import resolve
from simulator.run import prepare, simulate
from simulator.spec.correction import Correction
from simulator.spec.deployment import Deployment
from simulator.spec.workload import Workload

MODEL, DEVICE = "Qwen/Qwen3-0.6B", "H200-SXM"
WORKLOAD = {"prompt_tokens": 64, "output_tokens": 16}
REQUEST = {
    "name": "s", "model": MODEL, "engine": "trimtab-0.1", "workload": WORKLOAD, "slo": {"ttft_p99_s": 2.0},
    "space": {"device": [DEVICE], "max_num_seqs": [8, 16, 32, 64]}, "objectives": ["ttft_p99_s"],
}  # fmt: skip
CAPACITIES = {8: (10.0, 9.0, 11.0), 16: (11.0, 10.0, 12.0), 32: (20.0, 19.0, 21.0), 64: (40.0, 38.0, 42.0)}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "s.db")) as opened:
        yield opened


@pytest.fixture
def study(store: Store) -> str:
    request = SearchRequest.parse(REQUEST)
    kept = record.create_study(
        store, name="s", digest="d", request=request.model_dump(mode="json"), seed=0, versions={}, kernel_digest="k"
    )
    for seats, (value, low, high) in CAPACITIES.items():
        deployment = resolve(Deployment.parse({"model": MODEL, "engine": "trimtab-0.1", "device": DEVICE, "max_num_seqs": seats}))
        point = PointResult(rate_rps=value, metrics={}, objectives={}, on_frontier=True, rank=100 - seats)
        result = TrialResult(
            key=str(seats), state="done", deployment=deployment.model_dump(mode="json"), kernel_digest="k", seed=0,
            capacity_rps=value, capacity_low_rps=low, capacity_high_rps=high,
        )  # fmt: skip
        record.upsert_trial(store, kept.id, result, [point])
    return kept.id


def compared(rate: float, ttft: float) -> Compared:
    told = {"ttft_s": {"p50": ttft}, "tpot_s": {"mean": ttft / 10}, "e2e_s": {"p50": 2 * ttft}}
    shares = {"attention": 0.2, "rest": 0.5, "host": 0.3}
    errors = {"ttft_p50_s": -0.1, "tpot_mean_s": -0.2}
    return Compared(rate, told, told, errors, {"tpot_mean_s": shares, "ttft_p50_s": shares}, {})


def playing(seen: list[tuple[int, float]], broken: int = 0) -> Callable[..., list[Run]]:
    """Returns what stands for a real engine; deployments with so many seats have one that dies."""

    def measure(job: Job, tell: Any) -> list[Run]:
        runs = []
        for load in job.loads:
            seats = job.prepared.deployment.max_num_seqs
            seen.append((seats, load.share))
            found = Fault("died", "the server ended by itself") if seats == broken else compared(load.rate_rps or 0.0, 1.0 / seats)
            now = datetime.now(UTC)
            runs.append(Run(load, found, now, now))
            tell(runs[-1])
        return runs

    return measure


def here(monkeypatch: pytest.MonkeyPatch, measure: Callable[..., list[Run]]) -> None:
    monkeypatch.setattr(validation, "measure", measure)
    monkeypatch.setattr(placement, "place_of", lambda deployment, engine: placement.Place())


def test_finalists_differ_beyond_their_intervals(store: Store, study: str) -> None:
    chosen = validation.finalists(queries.trials(store, study), queries.points(store, study), 4)
    # By rank 64, 32, 16, 8; the capacities of 16 and 8 seats overlap.
    assert [trial.deployment["max_num_seqs"] for trial in chosen] == [64, 32, 16]
    assert validation.finalists(queries.trials(store, study), queries.points(store, study), 4, "A100-80G-SXM") == []


def test_a_fault_is_stored_the_others_run_and_nothing_is_measured_twice(
    store: Store, study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, float]] = []
    here(monkeypatch, playing(seen, broken=32))
    server = Server("torch", tmp_path)
    validation.validate_study(store, study, server, top=3, loads=[0.5])
    assert seen == [(64, 0.5), (32, 0.5), (16, 0.5)]
    rows = validations.of_study(store, study)
    assert sorted(row.state for _, row in rows) == ["done", "done", "faulted"]
    fault = next(row for _, row in rows if row.state == "faulted")
    assert (fault.fault_kind, fault.fault_reason, fault.measured) == ("died", "the server ended by itself", None)
    assert {row.rate_rps for _, row in rows} == {20.0, 10.0, 5.5}

    validation.validate_study(store, study, server, top=3, loads=[0.5, 0.8])
    assert seen[3:] == [(64, 0.8), (32, 0.8), (16, 0.8)]
    here(monkeypatch, playing(seen))
    validation.validate_study(store, study, server, top=3, loads=[0.5, 0.8], again=True)
    assert seen[6:] == [(32, 0.5), (32, 0.8)]
    assert all(row.state == "done" for _, row in validations.of_study(store, study))
    assert queries.study(store, study).state == "queued"


def test_the_document_has_agreement_and_the_store_a_correction_that_searches_take(
    store: Store, study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here(monkeypatch, playing([]))
    db = str(tmp_path / "s.db")
    argv = ["validate", study, "--db", db, "--loads", "0.5", "--logs", str(tmp_path), "--json"]
    assert main([*argv, "--fit", "mine"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["fault"] for each in told["items"]] == [None] * 3
    assert {(each["deployments"], each["regret"]) for each in told["agreement"]} == {(3, 0.0)}
    # One and the same error everywhere: one factor, 1 / (1 - 0.15) or so.
    assert 1.1 < told["correction"]["attention"] == told["correction"]["host"] < 1.25
    found = validation.correction_of(store, "mine")
    assert found.rest == told["correction"]["rest"]
    with pytest.raises(InputError, match="a name that no correction has"):
        validation.fit_correction(store, study, "mine", "torch")
    with pytest.raises(InputError, match="allowed: mine"):
        validation.correction_of(store, "other")
    request = SearchRequest.parse(REQUEST)
    assert request.corrected_by(found).digest() != request.digest()
    assert main(argv[:-1]) == 0
    assert "Spearman 1.00" in capsys.readouterr().out


def test_when_all_fail_it_is_said(
    store: Store, study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(job: Job, tell: Any) -> list[Run]:
        now = datetime.now(UTC)
        for load in job.loads:
            tell(Run(load, Fault.of(Wrong("3 of 9 requests went wrong")), now, now))
        return []

    here(monkeypatch, wrong)
    argv = ["validate", study, "--db", str(tmp_path / "s.db"), "--logs", str(tmp_path)]
    assert main(argv) == 1
    assert "nothing could be measured: 3 of 9 requests went wrong" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "begins"),
    [
        (["--loads", "0.5,x"], "--loads: '0.5,x' is not allowed"),
        (["--loads", "0.5,0.5"], "--loads: "),
        (["--top", "0"], "--top: 0"),
        (["--engine", "magic"], "--engine: 'magic' is not allowed; allowed: "),
        (["--engine", "openai"], "--url: "),
        (["--device", "L40S"], "STUDY: "),
    ],
)
def test_wrong_input_is_one_line(
    study: str, tmp_path: Path, more: list[str], begins: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", study, "--db", str(tmp_path / "s.db"), *more]) == 2
    err = capsys.readouterr().err
    assert err.startswith(begins) and err.count("\n") == 1


def test_a_correction_scales_its_classes_and_says_so() -> None:
    deployment = resolve(Deployment.parse({"model": MODEL, "engine": "vllm-0.19", "device": DEVICE}))
    plain = prepare(deployment)
    traffic = draw(Workload.parse({**WORKLOAD, "num_requests": 50}, "workload"), None, 0)

    def tpot(prepared: Any) -> float:
        value = metrics(simulate(prepared, traffic, 5.0), prepared).tpot_s.mean
        assert value is not None
        return float(value)

    slower = corrected(plain, Correction(name="c", attention=2.0, rest=2.0, host=2.0))
    assert tpot(slower) == pytest.approx(2 * tpot(plain), rel=0.1)
    assert tpot(plain) < tpot(with_factors(plain, {"rest": 1.5})) < tpot(slower)
    assert slower.provenance.operators["correction"].source == "correction c"
    assert corrected(plain, None) is plain
