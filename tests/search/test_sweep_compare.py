"""Comparison and blame on cases made by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from db.sweep_rows import SweepCaseResult
from search.sweep.blame import causes, verdict
from search.sweep.compare import compare
from search.sweep.numbers import better, beyond, exact, noise, of_interval, of_samples, seeded
from search.sweep.suite import Tolerances

LIMITS = Tolerances()


def case(**given: Any) -> SweepCaseResult:
    return SweepCaseResult(**{"name": "a", "kind": "search", "state": "done", **given})


def found(before: SweepCaseResult, now: SweepCaseResult, comparisons: int | None = None) -> list[dict[str, Any]]:
    return compare(before, now, LIMITS, comparisons).findings


def test_a_number_within_its_tolerance_is_no_news_and_beyond_it_is() -> None:
    before = case(numbers={"capacity_rps": exact("capacity", 100.0)})
    assert found(before, case(numbers={"capacity_rps": exact("capacity", 100.4)})) == []
    moved = found(before, case(numbers={"capacity_rps": exact("capacity", 99.0)}))
    assert [(each["what"], each["better"]) for each in moved] == [("capacity_rps", False)]


@pytest.mark.parametrize(("kind", "moved", "told"), [("cost", 0.1, False), ("capacity", 0.1, True), ("memory", 0.1, None)])
def test_which_way_is_better(kind: str, moved: float, told: bool | None) -> None:
    assert better(kind, moved) is told


def test_with_other_seeds_a_change_within_the_interval_is_chance() -> None:
    before = case(numbers={"capacity_rps": of_interval("capacity", 100.0, 0.03, 4)})
    now = case(numbers={"capacity_rps": of_interval("capacity", 103.0, 0.03, 4)})
    assert found(before, now, comparisons=10) == []
    assert [each["what"] for each in found(before, now)] == ["capacity_rps"], "with the same seeds it is a change"


def test_what_nobody_knows_the_scatter_of_is_compared_with_the_same_seeds_alone() -> None:
    before = case(numbers={"ttft_p99_s": seeded(exact("latency", 0.8))}, notes=states(h100="done"))
    now = case(numbers={"ttft_p99_s": seeded(exact("latency", 1.7))}, notes=states(h100="infeasible"))
    assert found(before, now, comparisons=10) == [] and len(found(before, now)) == 2


def test_chance_is_told_as_often_as_it_may_be() -> None:
    draws = np.random.default_rng(7)
    alarms = 0
    for _ in range(2000):
        one, other = (of_samples("latency", list(np.exp(draws.normal(0, 0.2, 4)))) for _ in range(2))
        factor = noise({**one}, {**other}, 0.05)
        logs = [np.log(each["samples"]).mean() for each in (one, other)]
        alarms += beyond(math.exp(logs[0]), math.exp(logs[1]), 0.0, factor)
    assert 0.03 < alarms / 2000 < 0.07


def test_a_fall_is_seen_as_well_as_a_rise() -> None:
    assert beyond(100.0, 30.0, 0.0, 1.0) and beyond(30.0, 100.0, 0.0, 1.0) and not beyond(100.0, 60.0, 0.0, 1.0)


def winner(name: str, *tied: str) -> list[dict[str, Any]]:
    return [{"kind": "winner", "winner": name, "tied": list(tied)}]


def test_a_new_winner_is_a_finding_unless_the_two_were_tied() -> None:
    assert [each["kind"] for each in found(case(notes=winner("H100")), case(notes=winner("L40S")))] == ["winner"]
    assert found(case(notes=winner("H100", "H100", "L40S")), case(notes=winner("L40S"))) == []
    assert found(case(notes=winner("H100")), case(notes=winner("H100"))) == []


def states(**given: str) -> list[dict[str, Any]]:
    return [{"kind": "states", "states": given}]


def test_a_deployment_that_lost_its_answer_is_named() -> None:
    told = found(case(notes=states(h100="done", l40s="done")), case(notes=states(h100="done", l40s="infeasible")))
    assert [(each["what"], each["before"], each["now"], each["better"]) for each in told] == [("l40s", "done", "infeasible", False)]


def test_a_case_without_an_answer_is_one_finding_and_not_many() -> None:
    now = case(state="infeasible", reason="nothing keeps the Slo")
    told = found(case(numbers={"x": exact("cost", 1.0)}), now)
    assert len(told) == 1 and "nothing keeps the Slo" in told[0]["sentence"] and told[0]["better"] is False


def test_an_operator_that_moved_is_a_finding_where_no_answer_did() -> None:
    old = {"profile": {"qkv": {"digest": "a", "mean_s": 1e-3, "source": "own"}, "rope": {"digest": "b", "mean_s": 1e-5}}}
    new = {"profile": {"qkv": {"digest": "c", "mean_s": 1.05e-3, "source": "own"}, "rope": {"digest": "d", "mean_s": 1.00001e-5}}}
    told = found(case(digests=old), case(digests=new))
    assert [(each["kind"], each["what"]) for each in told] == [("operator", "qkv")]


def test_times_of_other_shapes_are_not_compared() -> None:
    one, same = {"digest": "a", "asked": "x", "mean_s": 1e-3}, {"digest": "c", "asked": "x", "mean_s": 2e-3}
    others = {"digest": "d", "asked": "y", "mean_s": 2e-3}
    before = case(digests={"profile": {"qkv": one}})
    for entry, told in ((same, 1), ({**same, "asked": None}, 1), (others, 0)):
        now = case(digests={"profile": {"qkv": entry}})
        assert len(found(before, now)) == len(causes(before, now)) == told


def test_causes_are_named_by_kind_the_likelier_first() -> None:
    old = {
        "code": {"kernel": {"digest": "1"}, "package numba": {"digest": "0.68.0"}},
        "engine": {"vllm-0.19": {"digest": "e"}},
        "deployment": {"scheduler": {"digest": "x", "value": "vllm_v1"}},
        "price": {"book: one": {"digest": "p", "usd_per_hour": 4.0}},
    }
    new = {
        "code": {"kernel": {"digest": "2"}, "package numba": {"digest": "0.68.1"}},
        "engine": {"vllm-0.20": {"digest": "f"}},
        "deployment": {"scheduler": {"digest": "y", "value": "sglang"}},
        "price": {"book: one": {"digest": "q", "usd_per_hour": 5.0}},
        "profile": {"qkv": {"digest": "c", "mean_s": 1.0}},
    }
    told = causes(case(digests=old), case(digests=new))
    assert [each["kind"] for each in told] == ["deployment", "engine", "engine", "price", "code", "code"]
    line = verdict(told)
    for words in (
        "scheduler, vllm_v1 to sglang",
        "vllm-0.20 is new",
        "4 to 5 USD an hour",
        "kernel was edited",
        "0.68.0 to 0.68.1",
    ):
        assert words in line
    assert verdict([]) == "no digest differs"
