"""The ledger: what is recorded comes back as it was, only for the same task, and a better scoring stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from db import queries, record
from db.session import Store, open_store
from search import ledger as ledgers
from search.fidelity import Fidelity
from search.ledger import Ledger, Ranked
from search.request import SearchRequest
from search.trial import Scored, Task, evaluate

LOW = Fidelity(requests=500, seeds=1, tolerance=0.02, spread=0.1, latency_spread=0.3)
HIGH = Fidelity(requests=1_000, seeds=2, tolerance=0.02, spread=0.1, latency_spread=0.3)
REQUEST: dict[str, Any] = {
    "name": "chat-8b",
    "model": "meta-llama/Llama-3.1-8B",
    "workload": {"preset": "chat"},
    "slo": {"ttft_p99_s": 2.0},
    "prices": "cloud-2026-11",
    "profiles": [{"source": "roofline"}],
    "space": {"device": ["H100-SXM", "L4", "L40S"], "max_model_len": 65_536},
}


@cache
def scored(place: int, fidelity: Fidelity = LOW, demand: float | None = None) -> Scored:
    """Returns a scored deployment: 0 on H100-SXM and 2 on L40S are feasible, 1 on L4 is not."""
    request = SearchRequest.parse(REQUEST | ({"demand": {"rate_rps": demand}} if demand else {}))
    deployment = request.build_space().deployments()[place]
    return evaluate(Task(request, deployment, fidelity, place, 0))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Yields an empty store."""
    with open_store(tmp_path / "studies.db") as opened:
        yield opened


@pytest.fixture
def study(store: Store) -> str:
    """Returns the id of a running study."""
    created = record.create_study(store, name="n", digest="d", request={}, seed=0, versions={}, kernel_digest="k")
    return record.start_study(store, created.id).id


def save(ledger: Ledger, trial: Scored) -> None:
    """Records a trial with one objective."""
    values = [{"ttft_p99_s": point.metrics.ttft_s.p99} for point in trial.points]
    first = next(iter(values[0].values())) if values else None
    ledger.record(trial, values, None if first is None else (first,))


@pytest.mark.parametrize("demand", [None, 40.0])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_trial_is_recalled_as_it_was_recorded(store: Store, study: str, place: int, demand: float | None) -> None:
    trial = scored(place, LOW, demand)
    assert trial.feasible == (place != 1)
    save(Ledger(store, study), trial)
    assert Ledger(store, study).recall(trial.task) == trial


def test_only_the_same_fidelity_and_seed_are_recalled(store: Store, study: str) -> None:
    trial = scored(0)
    save(Ledger(store, study), trial)
    ledger = Ledger(store, study)
    assert ledger.recalled == 1
    assert ledger.recall(replace(trial.task, fidelity=HIGH)) is None
    assert ledger.recall(replace(trial.task, seed=1)) is None
    assert ledger.recall(scored(2).task) is None
    assert ledger.recall(trial.task) == trial


def test_what_another_kernel_scored_is_not_recalled(store: Store, study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = scored(0)
    save(Ledger(store, study), trial)
    monkeypatch.setattr(ledgers, "kernel_digest", lambda: "another")
    assert Ledger(store, study).recall(trial.task) is None


def test_a_failed_trial_is_run_again(store: Store, study: str) -> None:
    broken = replace(scored(0), reason="ValueError: bug", broken=True, points=(), curve=())
    save(Ledger(store, study), broken)
    assert [row.state for row in queries.trials(store, study)] == ["failed"]
    assert Ledger(store, study).recall(broken.task) is None


def test_a_better_scoring_stays_and_replaces_a_lesser_one(store: Store, study: str) -> None:
    low, high = scored(0), scored(0, HIGH)
    ledger = Ledger(store, study)
    for trial in (low, high, low):
        save(ledger, trial)
    (row,) = queries.trials(store, study)
    assert (row.fidelity, row.number) == (HIGH.requests, 0)
    assert Ledger(store, study).recall(high.task) == high
    assert len(queries.points(store, study)) == len(high.points)


def test_a_deployment_keeps_its_number_and_takes_no_other_ones(store: Store, study: str) -> None:
    first, second, third = (scored(place).task.deployment for place in range(3))
    ledger = Ledger(store, study)
    assert [ledger.number(first, 0), ledger.number(second, 1), ledger.number(first, 5)] == [0, 1, 0]
    save(ledger, scored(0))
    again = Ledger(store, study)
    assert again.number(third, 0) == 1
    assert again.number(second, 1) == 2
    assert again.number(first, 9) == 0


def test_publishing_replaces_every_point(store: Store, study: str) -> None:
    ledger = Ledger(store, study)
    one, other = scored(0), scored(2)
    save(ledger, one)
    save(ledger, other)
    ranked = [Ranked(one, point, True, rank, False) for rank, point in enumerate(one.points, 1)]
    ledger.publish(ranked, [{"ttft_p99_s": 1.0} for _ in ranked])
    assert len(queries.points(store, study)) == len(ranked)
    assert [found.point.rank for found in queries.frontier(store, study)] == list(range(1, len(ranked) + 1))
    assert {found.trial.number for found in queries.frontier(store, study)} == {0}
