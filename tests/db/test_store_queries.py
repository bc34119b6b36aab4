"""Reads: newest first, by id, beginning or name, resumable, and the frontier in its order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from sqlalchemy import delete, update

from db import queries, record
from db.rows import FinalState
from db.session import Store
from db.tables import Event, Study
from simulator.errors import InputError

Make = Callable[..., Any]


def _rename(store: Store, old: str, new: str) -> None:
    with store.write() as session:
        # Events name their study, and a database that heeds that lets no id go that is named.
        session.execute(delete(Event).where(Event.study_id == old))
        session.execute(update(Study).where(Study.id == old).values(id=new))


def test_studies_come_newest_first_in_pages(store: Store, new_study: Make) -> None:
    ids = [new_study(store, f"study-{i}").id for i in range(5)]
    assert [line.study.id for line in queries.studies(store)] == ids[::-1]
    first = queries.studies(store, limit=2)
    second = queries.studies(store, limit=2, after=first[-1].study.id)
    third = queries.studies(store, limit=2, after=second[-1].study.id)
    assert [line.study.id for line in [*first, *second, *third]] == ids[::-1]
    record.start_study(store, ids[1])
    assert [line.study.id for line in queries.studies(store, state="running")] == [ids[1]]


def test_a_line_counts_trials_and_shows_the_first_of_the_frontier(store: Store, new_study: Make, result: Make, point: Make) -> None:
    empty, full = new_study(store), new_study(store)
    for key, state in (("a", "done"), ("b", "done"), ("c", "infeasible")):
        record.upsert_trial(store, full.id, result(key, state=state))
    record.replace_points(
        store,
        full.id,
        {
            "a": [point(1.0, on_frontier=False, rank=0), point(3.0, on_frontier=True)],
            "b": [point(2.0, on_frontier=True, rank=4), point(4.0, on_frontier=True, rank=3)],
        },
    )
    newest, oldest = queries.studies(store)
    assert (newest.study, newest.trials) == (queries.study(store, full.id), {"done": 2, "infeasible": 1})
    assert newest.best is not None and (newest.best.trial.key, newest.best.point.rate_rps) == ("b", 4.0)
    assert (oldest.study, oldest.trials, oldest.best) == (empty, {}, None)
    assert [item.point.rate_rps for item in queries.frontier(store, full.id)] == [4.0, 2.0, 3.0]
    first = queries.frontier(store, full.id)[0]
    # What a list does not show is not read: it is nearly all of a point's and a trial's bytes.
    trial = replace(first.trial, curve=[], provenance={}, memory=None, metrics=None)
    assert newest.best == replace(first, point=replace(first.point, metrics={}), trial=trial)
    assert [item.point.rate_rps for item in queries.points(store, full.id)] == [1.0, 4.0, 2.0, 3.0]


def test_a_study_is_found_by_id_beginning_and_name(store: Store, new_study: Make) -> None:
    old, new, third = (new_study(store, name) for name in ("chat", "chat", "code"))
    for row, wanted in ((old, "s-aaaa0001"), (new, "s-aaaa0002"), (third, "s-bbbb0003")):
        _rename(store, row.id, wanted)
    assert queries.study(store, "s-aaaa0001").id == "s-aaaa0001"
    assert queries.study(store, "s-b").id == "s-bbbb0003"
    assert queries.study(store, "chat").id == "s-aaaa0002", "the latest of a name"
    assert queries.study(store, "code").id == "s-bbbb0003"
    with pytest.raises(InputError, match=r"study: 's-aaaa' .* fits s-aaaa0002 \(chat\), s-aaaa0001 \(chat\)"):
        queries.study(store, "s-aaaa")


@pytest.mark.parametrize("text", ["nope", "", "s-%", "S-", "s-________", "a" * 5000])
def test_an_unknown_study_is_told_with_the_latest(store: Store, new_study: Make, text: str) -> None:
    ids = [new_study(store).id for _ in range(7)]
    with pytest.raises(InputError) as caught:
        queries.study(store, text)
    assert caught.value.field == "study"
    told = str(caught.value)
    assert len(told.splitlines()) == 1
    assert all(one in told for one in ids[2:]) and not any(one in told for one in ids[:2])


def test_an_unknown_study_of_an_empty_store(store: Store) -> None:
    with pytest.raises(InputError, match="study: 'x' is not allowed; allowed: nothing yet"):
        queries.study(store, "x")


def test_only_the_latest_unfinished_study_of_the_same_request_is_resumable(store: Store, new_study: Make) -> None:
    assert queries.find_resumable(store, "d", 1) is None
    ids = {}
    for name in ("queued", "cancelled", "running", "failed", "done", "infeasible"):
        ids[name] = new_study(store, name, digest="d", seed=1).id
        if name != "queued":
            record.start_study(store, ids[name])
        if name not in ("queued", "running"):
            record.finish_study(store, ids[name], cast(FinalState, name))
    for name in ("failed", "running", "cancelled"):
        found = queries.find_resumable(store, "d", 1)
        assert found is not None and found.id == ids[name]
        record.delete_study(store, found.id)
    assert queries.find_resumable(store, "d", 1) is None
    other = new_study(store, digest="d", seed=2)
    record.start_study(store, other.id)
    assert queries.find_resumable(store, "d", 1) is None
    assert queries.find_resumable(store, "e", 2) is None


def test_finished_trials_are_those_that_need_no_new_run(store: Store, new_study: Make, result: Make) -> None:
    study = new_study(store)
    for key, state, kernel in (("a", "done", "k0"), ("b", "failed", "k0"), ("c", "infeasible", "k0"), ("d", "done", "k1")):
        record.upsert_trial(store, study.id, result(key, state=state, kernel_digest=kernel))
    assert list(queries.finished_trials(store, study.id)) == ["a", "c", "d"]
    assert list(queries.finished_trials(store, study.id, kernel_digest="k0")) == ["a", "c"]
    assert queries.finished_trials(store, study.id)["a"] == queries.trial(store, study.id, 0)


def test_an_unknown_trial_is_told_with_the_range(store: Store, new_study: Make, result: Make) -> None:
    study = new_study(store)
    with pytest.raises(InputError, match="trial: 0 is not allowed; allowed: nothing yet"):
        queries.trial(store, study.id, 0)
    for key in "abc":
        record.upsert_trial(store, study.id, result(key))
    with pytest.raises(InputError, match=f"trial: 3 is not allowed; allowed: a trial of study {study.id}: 0 to 2"):
        queries.trial(store, study.id, 3)


def test_a_read_sees_one_moment(store: Store, new_study: Make) -> None:
    study = new_study(store)
    with store.read() as session:
        assert session.get_one(Study, study.id).state == "queued"
        record.start_study(store, study.id)
        session.expire_all()
        assert session.get_one(Study, study.id).state == "queued"
    assert queries.study(store, study.id).state == "running"
