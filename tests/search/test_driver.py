"""The driver: one frontier whatever the sampler, the executor and the interruptions, and nothing on it that is beaten."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from db import queries, record
from db.session import Store, open_store
from search import driver
from search.driver import Stopped, Study, ends_first
from search.executor.inline import Inline
from search.executor.threads import Threads
from search.fidelity import Fidelity
from search.ledger import Ledger, Ranked
from search.progress import Progress
from search.request import SearchRequest
from search.trial import Scored, Task, evaluate

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
    "profiles": [{"source": "roofline", "ideal": True}],
    "space": {
        "device": ["H100-SXM", "L40S"],
        "tensor_parallel_size": [1, 2],
        "max_num_batched_tokens": [512, 2048],
        "max_model_len": 16384,
    },
    "objectives": ["usd_per_million_output_tokens", "ttft_p99_s"],
    "budget": {"max_gpus": 8, "trials": 8},
}


@pytest.fixture(autouse=True)
def _short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, fidelity in LEVELS.items():
        monkeypatch.setattr(driver, name, fidelity)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Yields an empty store."""
    with open_store(tmp_path / "studies.db") as opened:
        yield opened


def made(store: Store, request: SearchRequest) -> str:
    """Returns the id of a new running study."""
    created = record.create_study(
        store, name=request.name, digest="d", request=request.model_dump(mode="json"), seed=0, versions={}, kernel_digest="k"
    )
    return record.start_study(store, created.id).id


def study(
    store: Store,
    study_id: str | None = None,
    executor: Inline | Threads | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    **changes: Any,
) -> Study:
    """Returns a study of the small request, new unless its id is given."""
    request = SearchRequest.parse(REQUEST | changes)
    return Study(request, Ledger(store, study_id or made(store, request)), executor or Inline(), report, stop)


def told(ranked: Sequence[Ranked]) -> list[tuple[Any, ...]]:
    """Returns what a frontier says, apart from the trials' numbers: they follow the order of sampling."""
    members = sorted((r for r in ranked if r.on_frontier), key=lambda r: r.rank or 0)
    return [(r.rank, r.tied, r.scored.task.key, r.point.rate_rps, r.point.metrics) for r in members]


def values(found: Study, ranked: Sequence[Ranked]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Returns one row of objectives a point."""
    return np.array([[objective.value(r.point) for objective in found.objectives] for r in ranked], dtype=float)


def dominated(row: np.ndarray[Any, Any], by: np.ndarray[Any, Any]) -> bool:
    """Returns whether any row of `by` is nowhere higher and somewhere lower."""
    return bool(((by <= row).all(axis=1) & (by < row).any(axis=1)).any())


# The frontier


def test_every_sampler_that_may_try_all_finds_the_same_frontier(store: Store) -> None:
    found = {name: told(study(store, sampler=name).run()) for name in ("enumerate", "random", "tpe", "auto")}
    assert len(found["enumerate"]) > 1
    assert all(frontier == found["enumerate"] for frontier in found.values())


def test_nothing_on_the_frontier_is_dominated_and_all_else_of_the_finalists_is(store: Store) -> None:
    one = study(store)
    ranked = one.run()
    published = [r for r in ranked if r.scored.task.fidelity == LEVELS["FINAL"]]
    rows = values(one, published)
    assert [r.on_frontier for r in published] == [not dominated(row, rows) for row in rows]
    assert not any(r.on_frontier for r in ranked if r not in published)
    assert all(r.point.metrics.slo_met for r in ranked if r.on_frontier)


def test_ranks_follow_the_first_objective(store: Store) -> None:
    one = study(store)
    members = sorted((r for r in one.run() if r.on_frontier), key=lambda r: r.rank or 0)
    assert [r.rank for r in members] == list(range(1, len(members) + 1))
    first = values(one, members)[:, 0]
    assert list(first) == sorted(first)


def test_a_maximized_objective_ranks_from_the_top(store: Store) -> None:
    one = study(store, objectives=["capacity_rps"], prices=None)
    ranked = one.run()
    best = max(s.capacity.value for s in {id(r.scored): r.scored for r in ranked}.values() if s.capacity)
    assert {r.scored.capacity.value for r in ranked if r.on_frontier and r.scored.capacity} == {best}


def test_deployments_that_are_equal_are_shown_as_ties(store: Store) -> None:
    space = {"device": "H100-SXM", "scheduler": ["vllm_v1", "sarathi_serve"], "max_model_len": 16384}
    ranked = study(store, space=space).run()
    assert len({r.scored.task.key for r in ranked if r.tied and r.on_frontier}) == 2
    alone = study(store, space={"device": "H100-SXM", "max_model_len": 16384}).run()
    assert not any(r.tied for r in alone)


def test_finalists_lie_all_along_the_frontier(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "MOST_FINALISTS", 3)
    one = study(store)
    rescored = one.phase("rescore", LEVELS["RESCORE"], one.space.deployments(), 0)
    chosen = one.finalists(rescored)
    assert len(chosen) == 3
    assert one.left_out == len(one.still_open(rescored, LEVELS["RESCORE"])) - 3
    points = [(s.task.deployment, one.objectives[0].value(p), one.objectives[1].value(p)) for s in rescored for p in s.points]
    assert min(points, key=lambda row: row[1] or 0)[0] in chosen
    assert min(points, key=lambda row: row[2] or 0)[0] in chosen


@given(st.integers(0, 200))
def test_ends_first_names_every_index_once_and_both_ends_first(count: int) -> None:
    order = ends_first(count)
    assert sorted(order) == list(range(count))
    assert set(order[:2]) <= {0, count - 1}


def test_what_is_ruled_out_is_not_run_again_and_the_winner_is_never_ruled_out(store: Store) -> None:
    one = study(store, objectives=["usd_per_million_output_tokens"])
    screened = one.screen()
    kept = one.still_open(screened, LEVELS["SCREEN"])
    assert 0 < len(kept) < len(screened)
    everything = one.rank(one.phase("final", LEVELS["FINAL"], one.space.deployments(), 10_000))
    assert {r.scored.task.deployment for r in everything if r.on_frontier} <= set(kept)


def test_a_fleet_sized_by_short_runs_may_lack_an_instance_unless_it_would_serve_more(store: Store) -> None:
    asked: dict[str, Any] = {"demand": {"rate_rps": 20.0}, "objectives": ["usd_per_hour", "output_tokens_per_gpu_s"]}
    one = study(store, **asked, slo={"ttft_p99_s": 0.3, "itl_p99_s": 0.2})
    fleets = [s for s in one.screen() if s.feasible]
    assert {s.curve[-1][1].slo_met for s in fleets} == {True, False}
    for scored in fleets:
        (point,) = scored.points
        assert [rate for rate, _ in scored.curve] == [20.0, 20.0 * 1.2]
        assert scored.bill is not None
        more = 0.2 if scored.curve[-1][1].slo_met else max(0.2, 1 / scored.bill.instances)
        low, high = one._range(scored, point, LEVELS["SCREEN"])
        cost, speed = (objective.value(point) or 0.0 for objective in one.objectives)
        assert high[0] == pytest.approx(cost * (1 + more)) and low[0] == pytest.approx(cost * 0.8)
        assert low[1] == pytest.approx(speed / (1 + more)) and high[1] == pytest.approx(speed * 1.2)


# Executors and interruptions


def test_threads_give_the_frontier_of_one_after_another(store: Store) -> None:
    with Threads(workers=3) as threads:
        assert told(study(store, executor=threads).run()) == told(study(store).run())


@pytest.mark.parametrize("sampler", ["enumerate", "tpe"])
@pytest.mark.parametrize("times", [0, 3, 8, 11])
def test_a_stopped_study_keeps_what_finished_and_ends_as_if_never_stopped(
    store: Store, sampler: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = study(store, sampler=sampler, budget={"max_gpus": 8, "trials": 5})
    expected = [(r.point.trial, *told([r])) for r in whole.run()]

    asked: list[Task] = []

    def noted(task: Task) -> Scored:
        scored = evaluate(task)
        asked.append(task)
        return scored

    monkeypatch.setattr(driver, "evaluate", noted)
    first = study(store, sampler=sampler, budget={"max_gpus": 8, "trials": 5}, stop=lambda: len(asked) >= times)
    with pytest.raises(Stopped):
        first.run()
    study_id = first.ledger.study_id
    ran = {(task.key, task.fidelity.requests) for task in asked}
    assert len(asked) == len(ran) == times
    assert {row.key for row in queries.trials(store, study_id)} == {key for key, _ in ran}

    asked.clear()
    again = study(store, study_id, sampler=sampler, budget={"max_gpus": 8, "trials": 5})
    assert again.ledger.recalled == len({key for key, _ in ran})
    assert [(r.point.trial, *told([r])) for r in again.run()] == expected
    best = {row_key: max(level for key, level in ran if key == row_key) for row_key, _ in ran}
    assert not {(task.key, task.fidelity.requests) for task in asked} & set(best.items())


def test_a_trial_that_raises_is_told_and_disturbs_no_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def flawed(task: Task) -> Scored:
        if task.deployment.device == "L40S":
            raise RuntimeError("broken table")
        return evaluate(task)

    monkeypatch.setattr(driver, "evaluate", flawed)
    one = study(store)
    ranked = one.run()
    assert any(r.on_frontier for r in ranked)
    failed = [row for row in queries.trials(store, one.ledger.study_id) if row.state == "failed"]
    assert {row.reason for row in failed} == {"RuntimeError: broken table"}
    assert {row.deployment["device"] for row in failed} == {"L40S"}


def test_nothing_feasible_is_an_empty_frontier(store: Store) -> None:
    one = study(store, slo={"ttft_p99_s": 1e-6})
    assert one.run() == []
    rows = queries.trials(store, one.ledger.study_id)
    assert {row.state for row in rows} == {"infeasible"} and len(rows) == 8


def test_progress_names_the_phases_in_order_and_never_goes_back(store: Store) -> None:
    heard: list[Progress] = []
    study(store, report=heard.append, sampler="tpe").run()
    assert list(dict.fromkeys(progress.phase for progress in heard)) == ["screen", "rescore", "final"]
    screened = [(progress.done, progress.total) for progress in heard if progress.phase == "screen"]
    assert screened == sorted(screened) and screened[-1] == (8, 8)
    assert all(progress.done <= progress.total for progress in heard)
    assert heard[-1].best is not None
