"""Sweeps in the store, on both databases: runs, trends, baselines."""

from __future__ import annotations

from datetime import timedelta

import pytest

from db import sweeps, upkeep
from db.session import Store
from simulator.errors import InputError
from tests.nights import FIRST, case, night, nights


def test_a_run_comes_back_as_it_was_kept(store: Store) -> None:
    row = night(store, 3, moved=True)
    assert sweeps.run(store, row.id) == row
    kept = sweeps.cases(store, row.id)
    assert [each.name for each in kept] == ["one H100, chat", "one L40S, <b>code</b>", "measured"]
    made = case("one H100, chat", 3, moved=True)
    assert (kept[0].numbers, kept[0].findings, kept[0].causes) == (made.numbers, made.findings, made.causes)


def test_pages_follow_one_another_and_a_suite_has_its_own(store: Store) -> None:
    made = [row.id for row in nights(store, 5)]
    other = night(store, 9, suite="weekly")
    first = sweeps.runs(store, 2, suite="nightly")
    rest = sweeps.runs(store, 9, (first[-1].created_at, first[-1].id), "nightly")
    assert [row.id for row in (*first, *rest)] == made[::-1]
    assert sweeps.runs(store, 1)[0].id == other.id and sweeps.suites(store) == ["nightly", "weekly"]


def test_a_trend_is_the_latest_nights_oldest_first(store: Store) -> None:
    made = [row.id for row in nights(store, 6)]
    found = sweeps.trend(store, "nightly", "one H100, chat", 4)
    assert [each.run.id for each in found] == made[2:]
    values = [each.case.numbers["capacity_rps"]["value"] for each in found]
    assert values[-1] < 0.98 * values[0]
    assert sweeps.trends(store, "nightly", ["none"]) == {"none": []}


def test_the_newest_approval_of_a_name_holds_and_the_history_stays(store: Store) -> None:
    runs = nights(store, 3)
    sweeps.approve(store, runs[1].id, "main", "prices are right", "else")
    held = sweeps.baseline(store, "nightly", "main")
    assert held is not None and (held.run_id, held.reason, held.approved_by) == (runs[1].id, "prices are right", "else")
    assert [each.run_id for each in sweeps.baselines(store, "nightly", "main")] == [runs[1].id, runs[0].id]
    assert sweeps.baseline(store, "weekly", "main") is None


def test_a_host_is_compared_with_itself(store: Store) -> None:
    nights(store, 3)
    found = sweeps.last_on_host(store, "nightly", "one H100, chat", "runner-1")
    assert found is not None and found.findings
    assert sweeps.last_on_host(store, "nightly", "one H100, chat", "runner-2") is None


@pytest.mark.parametrize("text", ["", "r-", "r-none", "%", "_"])
def test_a_run_that_is_not_one_is_refused_with_those_that_are(store: Store, text: str) -> None:
    runs = nights(store, 2)
    with pytest.raises(InputError) as told:
        sweeps.run(store, text)
    assert runs[0].id in told.value.allowed


def test_the_beginning_of_an_id_will_do_and_last_is_the_newest(store: Store) -> None:
    runs = nights(store, 2)
    assert sweeps.run(store, runs[0].id[:10]).id == runs[0].id and sweeps.run(store, "last").id == runs[1].id


def test_old_nights_are_pruned_with_their_cases_but_never_a_baseline(store: Store) -> None:
    made = [row.id for row in nights(store, 6)]
    before = FIRST + timedelta(days=3, hours=1)
    assert upkeep.prune(store, before, dry_run=True)["sweeps"] == 3 == upkeep.prune(store, before)["sweeps"]
    assert [row.id for row in sweeps.runs(store)] == [made[5], made[4], made[0]]
    assert sweeps.cases(store, made[1]) == [] and sweeps.cases(store, made[0])
