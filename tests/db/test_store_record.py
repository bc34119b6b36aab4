"""Writes: what comes back is what went in, and nothing is ever half there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from db import queries, record
from db.jsontext import check_storable, dumps
from db.session import Store
from simulator.errors import StoreError

Make = Callable[..., Any]

FULL = {
    "reason": "fits",
    "fidelity": 20_000,
    "capacity_rps": 1 / 3,
    "capacity_low_rps": 0.3,
    "capacity_high_rps": 5e-324,
    "capacity_level": 0.95,
    "binding": "ttft_p99_s",
    "metrics": {"ttft_s": {"p99": 0.1 + 0.2, "mean": None}, "requests": 7},
    "curve": [{"rate_rps": 1.5, "metrics": {}}],
    "objectives": {"usd_per_million_output_tokens": 1.25},
    "memory": {"weights_bytes": 2**60},
    "provenance": {"attention": {"source": "own", "kind": "measured"}, "é": "\u2028\x00"},
    "seed": 2**62,
}


def test_a_trial_comes_back_as_it_was_written(store: Store, new_study: Make, result: Make, point: Make) -> None:
    study = new_study(store)
    written = result(**FULL)
    points = [point(1.0, on_frontier=True, rank=0, tied=True), point(2.0)]
    row = record.upsert_trial(store, study.id, written, points)
    assert queries.trials(store, study.id) == [row]
    assert {name: getattr(row, name) for name in asdict(written)} == asdict(written)
    assert (row.study_id, row.number) == (study.id, 0)
    stored = [item.point for item in queries.points(store, study.id)]
    assert [{name: getattr(item, name) for name in asdict(points[0])} for item in stored] == [asdict(item) for item in points]
    assert {item.trial_id for item in stored} == {row.id}


def test_times_are_aware_and_in_utc(store: Store, new_study: Make) -> None:
    before = datetime.now(UTC)
    created = queries.study(store, new_study(store).id).created_at
    assert created.utcoffset() == timedelta(0)
    assert before <= created <= datetime.now(UTC)


def test_json_is_stored_with_sorted_keys(store: Store, new_study: Make, result: Make) -> None:
    study = new_study(store)
    record.upsert_trial(store, study.id, result(metrics={"b": 1, "a": {"d": 1, "c": 2.0}}))
    with store.read() as session:
        assert session.scalar(text("SELECT CAST(metrics AS TEXT) FROM trials")) == '{"a":{"c":2.0,"d":1},"b":1}'


def test_scoring_again_replaces_the_row_and_its_points_and_keeps_the_number(
    store: Store, new_study: Make, result: Make, point: Make
) -> None:
    study = new_study(store)
    first = record.upsert_trial(store, study.id, result("a", fidelity=1000, metrics={}), [point(1.0), point(2.0)])
    other = record.upsert_trial(store, study.id, result("b"), [point(9.0)])
    again = record.upsert_trial(store, study.id, result("a", fidelity=20_000, state="failed"), [point(3.0)], number=7)
    assert (again.id, again.number, again.created_at) == (first.id, first.number, first.created_at)
    assert (again.fidelity, again.state, again.metrics) == (20_000, "failed", None)
    assert again.updated_at >= first.updated_at
    assert queries.trials(store, study.id) == [again, other]
    assert sorted(item.point.rate_rps for item in queries.points(store, study.id)) == [3.0, 9.0]


def test_writing_the_same_twice_is_writing_it_once(store: Store, new_study: Make, result: Make, point: Make) -> None:
    study = new_study(store)
    for _ in range(2):
        row = record.upsert_trial(store, study.id, result(**FULL), [point()])
    assert queries.trials(store, study.id) == [row]
    assert len(queries.points(store, study.id)) == 1


def test_trials_take_the_number_given_or_the_next(store: Store, new_study: Make, result: Make) -> None:
    study, other = new_study(store), new_study(store)
    numbers = [
        record.upsert_trial(store, study.id, result(key), number=n).number for key, n in (("a", None), ("b", 5), ("c", None))
    ]
    assert numbers == [0, 5, 6]
    assert record.upsert_trial(store, other.id, result("a")).number == 0
    with pytest.raises(StoreError, match=r"trial 5 of study .* is another deployment already: b"):
        record.upsert_trial(store, study.id, result("d"), number=5)
    assert len(queries.trials(store, study.id)) == 3


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"metrics": {"ttft_s": {"p99": float("inf")}}}, r"trial\.metrics\.ttft_s\.p99 .* inf is not a finite number"),
        ({"capacity_rps": float("nan")}, r"trial\.capacity_rps .* nan"),
        ({"curve": [{}, {"rate_rps": float("-inf")}]}, r"trial\.curve\[1\]\.rate_rps"),
        ({"objectives": {1: 2.0}}, "key 1 is not text"),
        ({"memory": {"blocks": {1, 2}}}, "set is not a JSON type"),
        ({"key": "k" * 2001}, "longer than 2,000 bytes"),
        ({"seed": 2**70}, "cannot be written"),
        ({"reason": "\ud800"}, "cannot be written"),
        ({"state": "maybe"}, "cannot be written"),
    ],
)
def test_what_cannot_be_stored_is_refused_whole(
    store: Store, new_study: Make, result: Make, point: Make, bad: dict[str, Any], told: str
) -> None:
    study = new_study(store)
    row = record.upsert_trial(store, study.id, result("a"), [point()])
    with pytest.raises(StoreError, match=told) as caught:
        record.upsert_trial(store, study.id, result(**{"key": "a", **bad}), [point(), point()])
    assert len(str(caught.value).splitlines()) == 1
    assert queries.trials(store, study.id) == [row]
    assert len(queries.points(store, study.id)) == 1


def test_a_point_that_cannot_be_stored_takes_its_trial_along(store: Store, new_study: Make, result: Make, point: Make) -> None:
    study = new_study(store)
    for bad in (point(float("nan")), point(rank=2**70)):
        with pytest.raises(StoreError):
            record.upsert_trial(store, study.id, result(), [point(), bad])
    assert queries.trials(store, study.id) == []


def test_the_longest_key_fits_the_index(store: Store, new_study: Make, result: Make) -> None:
    # Text that does not compress: PostgreSQL compresses an index entry before it measures it.
    key = "".join(chr(33 + (i * i * 7919 + i * 104729) % 94) for i in range(2000))
    study = new_study(store)
    record.upsert_trial(store, study.id, result(key))
    assert list(queries.finished_trials(store, study.id)) == [key]


def test_replacing_points_replaces_those_of_one_study(store: Store, new_study: Make, result: Make, point: Make) -> None:
    study, other = new_study(store), new_study(store)
    for item in (study, other):
        record.upsert_trial(store, item.id, result("a"), [point(1.0)])
        record.upsert_trial(store, item.id, result("b"), [point(2.0)])
    record.replace_points(store, study.id, {"b": [point(5.0, on_frontier=True, rank=0)], "a": [point(4.0, rank=1)]})
    assert [(p.trial.key, p.point.rate_rps) for p in queries.points(store, study.id)] == [("b", 5.0), ("a", 4.0)]
    assert [p.point.rate_rps for p in queries.points(store, other.id)] == [1.0, 2.0]
    with pytest.raises(StoreError, match="no trial with the key z"):
        record.replace_points(store, study.id, {"z": [point()]})
    assert len(queries.points(store, study.id)) == 2


def test_a_study_starts_once_and_ends_once(store: Store, new_study: Make) -> None:
    study = new_study(store)
    assert (study.state, study.started_at, study.finished_at, study.summary) == ("queued", None, None, None)
    running = record.start_study(store, study.id)
    assert running.state == "running" and running.started_at is not None
    with pytest.raises(StoreError, match="it is running"):
        record.start_study(store, study.id)
    done = record.finish_study(store, study.id, "done", {"best": 1.0})
    assert (done.state, done.summary) == ("done", {"best": 1.0}) and done.finished_at is not None
    assert record.finish_study(store, study.id, "failed", {"best": None}) == done
    with pytest.raises(StoreError, match="it is done"):
        record.start_study(store, study.id, resume=True)
    assert queries.study(store, study.id) == done


def test_a_cancelled_study_stays_cancelled_until_it_is_resumed(store: Store, new_study: Make) -> None:
    study = new_study(store)
    first = record.start_study(store, study.id)
    record.finish_study(store, study.id, "cancelled")
    late = record.finish_study(store, study.id, "done", {"trials": 3})
    assert (late.state, late.summary) == ("cancelled", {"trials": 3})
    resumed = record.start_study(store, study.id, resume=True)
    assert (resumed.state, resumed.finished_at, resumed.started_at) == ("running", None, first.started_at)
    assert record.finish_study(store, study.id, "infeasible").state == "infeasible"


def test_deleting_a_study_takes_its_trials_and_points_and_no_others(
    store: Store, new_study: Make, result: Make, point: Make
) -> None:
    study, other = new_study(store), new_study(store)
    for item in (study, other):
        record.upsert_trial(store, item.id, result(), [point(on_frontier=True)])
    record.delete_study(store, study.id)
    with store.read() as session:
        counts = [session.scalar(text(f"SELECT count(*) FROM {table}")) for table in ("studies", "trials", "points")]
    assert counts == [1, 1, 1]
    assert len(queries.frontier(store, other.id)) == 1


def test_writes_to_a_study_that_is_gone_are_refused(store: Store, result: Make) -> None:
    for write in (
        lambda: record.start_study(store, "s-00000000"),
        lambda: record.finish_study(store, "s-00000000", "done"),
        lambda: record.upsert_trial(store, "s-00000000", result()),
        lambda: record.replace_points(store, "s-00000000", {}),
        lambda: record.delete_study(store, "s-00000000"),
    ):
        with pytest.raises(StoreError, match="study s-00000000 is not in the store"):
            write()


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


@given(_json)
def test_what_may_be_stored_survives_json_unchanged(value: object) -> None:
    check_storable(value, "value")
    back = json.loads(dumps(value))
    assert back == value
    assert dumps(back) == dumps(value)
