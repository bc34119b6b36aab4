"""The queue: who gets which job, what a lease allows, and what becomes of jobs and studies together."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from db import events, jobs, keys, queries, record
from db.jobs import LeasedStore, LeaseLost, Limits, NewStudy, Submitted
from db.rows import JobRow, TrialResult
from db.session import Store, open_store
from simulator.errors import InputError, OverQuota, StoreError

Make = Callable[..., Any]


def new(name: str = "chat") -> NewStudy:
    """Returns the fields of a study that is to be made."""
    return NewStudy(name=name, digest="d0", request={"name": name}, seed=0, versions={"trimtab": "1"}, kernel_digest="k0")


def submitted(store: Store, **given: Any) -> Submitted:
    """Returns a study that was submitted."""
    return jobs.submit(store, new(), **given)


def claimed(store: Store, worker: str = "w", lease_s: float = 60.0, limits: Limits | None = None) -> JobRow:
    """Returns the next job, claimed."""
    job = jobs.claim(store, worker, lease_s, limits)
    assert job is not None
    return job


def states(store: Store, study_id: str) -> tuple[str, str]:
    """Returns the state of a study and of its latest job."""
    job = jobs.of_study(store, study_id)
    assert job is not None
    return queries.study(store, study_id).state, job.state


def make_due(store: Store) -> None:
    """Lets every job that waits for its next attempt be due now."""
    with store.write() as session:
        session.execute(text("UPDATE jobs SET not_before = created_at"))


def told(store: Store, study_id: str) -> list[str]:
    """Returns the states that the study's events tell, in order."""
    return [event.document["state"] for event in events.since(store, study_id) if event.kind == "state"]


# Submitting


def test_a_study_and_its_job_are_stored_together_and_wait(store: Store) -> None:
    made = submitted(store, priority=3, key_id="k-1")
    assert (made.study.state, made.job.state, made.new) == ("queued", "queued", True)
    assert (made.job.priority, made.job.key_id, made.job.attempts) == (3, "k-1", 0)
    assert jobs.of_study(store, made.study.id) == made.job
    assert told(store, made.study.id) == ["queued"]


def test_neither_study_nor_job_is_stored_when_one_cannot_be(store: Store) -> None:
    with pytest.raises(StoreError):
        submitted(store, kind="x" * 40 if store.engine.dialect.name == "postgresql" else object())
    assert queries.studies(store) == []


def test_the_same_idempotency_key_gets_the_same_study_once_for_each_submitter(store: Store) -> None:
    first = submitted(store, key_id="k-1", idempotency=("once", "digest"))
    again = submitted(store, key_id="k-1", idempotency=("once", "digest"))
    other = submitted(store, key_id="k-2", idempotency=("once", "digest"))
    assert (again.study.id, again.new) == (first.study.id, False)
    assert other.new and other.study.id != first.study.id
    with pytest.raises(InputError, match="Idempotency-Key: 'once' is not allowed"):
        submitted(store, key_id="k-1", idempotency=("once", "another"))


def test_submits_under_one_key_that_meet_make_one_study(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: submitted(store, idempotency=("once", "digest")), range(16)))
    assert len({each.study.id for each in made}) == 1
    assert sum(each.new for each in made) == 1
    assert len(queries.studies(store)) == 1


# Claiming


def test_the_highest_priority_is_claimed_first_then_the_oldest(store: Store) -> None:
    ids = [submitted(store, priority=priority).study.id for priority in (0, 5, 0, 5, -1)]
    order = [claimed(store).study_id for _ in ids]
    assert order == [ids[1], ids[3], ids[0], ids[2], ids[4]]
    assert jobs.claim(store, "w", 60.0) is None


def test_keys_share_fairly_however_many_jobs_one_of_them_queued(store: Store) -> None:
    for key in ["a"] * 6 + ["b"] * 2 + ["c"]:
        submitted(store, key_id=key)
    assert [claimed(store).key_id for _ in range(6)] == ["a", "b", "c", "a", "b", "a"]


def test_a_key_runs_no_more_jobs_than_its_quota(store: Store) -> None:
    for key in ["a", "a", "a", "b"]:
        submitted(store, key_id=key)
    limits = Limits(running_per_key=1)
    held = [claimed(store, limits=limits), claimed(store, limits=limits)]
    assert [job.key_id for job in held] == ["a", "b"]
    assert jobs.claim(store, "w", 60.0, limits) is None
    jobs.finish(store, held[0], "done")
    assert claimed(store, limits=limits).key_id == "a"


def test_a_key_has_no_more_studies_under_way_than_its_quota(store: Store) -> None:
    key, _ = keys.create(store, "ci", ["submit"], quota=2)
    free, _ = keys.create(store, "people", ["submit"])
    first = submitted(store, key_id=key.id)
    submitted(store, key_id=key.id)
    with pytest.raises(OverQuota, match="2 studies under way"):
        submitted(store, key_id=key.id)
    for _ in range(3):
        submitted(store, key_id=free.id)
    jobs.request_cancel(store, first.study.id)
    assert submitted(store, key_id=key.id).job.state == "queued"
    with pytest.raises(OverQuota):
        jobs.resume(store, first.study.id, key_id=key.id)


def test_workers_that_claim_at_once_get_different_jobs_and_keep_the_quota(store: Store) -> None:
    for place in range(30):
        submitted(store, key_id=f"k{place % 3}")
    limits = Limits(running_per_key=4)
    with ThreadPoolExecutor(8) as pool:
        got = [job for job in pool.map(lambda n: jobs.claim(store, f"w{n}", 60.0, limits), range(40)) if job is not None]
    while (job := jobs.claim(store, "last", 60.0, limits)) is not None:
        got.append(job)
    assert len({job.id for job in got}) == len(got)
    assert Counter(job.key_id for job in got) == {"k0": 4, "k1": 4, "k2": 4}


def test_a_claimed_study_runs_and_a_finished_one_is_over_with_its_job(store: Store) -> None:
    study = submitted(store).study.id
    job = claimed(store, "worker-1")
    assert (job.leased_by, job.attempts, job.claims) == ("worker-1", 1, 1)
    assert states(store, study) == ("running", "running")
    row = jobs.finish(store, job, "infeasible", {"sentence": "no"})
    assert (row.state, row.summary) == ("infeasible", {"sentence": "no"})
    assert states(store, study) == ("infeasible", "done")
    assert told(store, study) == ["queued", "running", "infeasible"]


# Leases


def test_a_heartbeat_keeps_a_lease_and_without_one_it_is_claimed_again(store: Store) -> None:
    submitted(store)
    job = claimed(store, lease_s=0.0)
    assert jobs.heartbeat(store, job, 60.0) == "held"
    assert jobs.claim(store, "other", 60.0) is None and jobs.expire(store) == 0
    assert jobs.heartbeat(store, job, 0.0) == "held"
    time.sleep(0.01)
    assert jobs.expire(store) == 1
    make_due(store)
    taken = claimed(store, "other")
    assert (taken.id, taken.attempts, taken.claims) == (job.id, 2, 2)
    assert jobs.heartbeat(store, job, 60.0) == jobs.look(store, job) == "lost"


def test_who_lost_the_lease_writes_nothing_any_more(store: Store, result: Make) -> None:
    study = submitted(store).study.id
    job = claimed(store, lease_s=0.0)
    make_due(store)
    time.sleep(0.01)
    jobs.expire(store)
    make_due(store)
    taken = claimed(store, "other")
    stale, fresh = LeasedStore(store, job), LeasedStore(store, taken)
    for write in (
        lambda: record.upsert_trial(stale, study, result("a")),
        lambda: record.replace_points(stale, study, {}),
        lambda: events.append(stale, study, "note", {}),
        lambda: jobs.finish(store, job, "done"),
        lambda: jobs.fail(store, job, "bug"),
        lambda: jobs.release(store, job),
    ):
        with pytest.raises(LeaseLost, match=f"study {study} is no longer run here"):
            write()
    assert states(store, study) == ("running", "running")
    record.upsert_trial(fresh, study, result("a"))
    assert [trial.key for trial in queries.trials(store, study)] == ["a"]


def test_a_job_can_be_taken_over_only_between_two_writes_of_its_holder(store: Store, store_url: str, result: Make) -> None:
    study = submitted(store).study.id
    job = claimed(store, lease_s=0.2)
    with open_store(store_url, lock_timeout_s=0.3) as other, LeasedStore(store, job).write() as session:
        time.sleep(0.3)
        # SQLite lets the other one wait until it gives up, PostgreSQL has it pass over what is locked.
        try:
            assert jobs.expire(other) == 0
        except StoreError as error:
            assert error.passing
        session.execute(text("UPDATE studies SET name = 'mine' WHERE id = :id"), {"id": study})
    assert queries.study(store, study).name == "mine"
    assert jobs.expire(store) == 1


def test_attempts_are_spaced_ever_more_and_after_the_last_the_study_has_failed(store: Store) -> None:
    study = submitted(store, max_attempts=3).study.id
    waits = []
    for attempt in (1, 2, 3):
        job = claimed(store)
        assert job.attempts == attempt
        left = jobs.fail(store, job, f"error {attempt}")
        waits.append((left.not_before - (job.lease_until or left.not_before)).total_seconds() + 60.0)
        if attempt < 3:
            assert jobs.claim(store, "w", 60.0) is None, "it is not due yet"
            make_due(store)
    assert waits[0] == pytest.approx(1.0, abs=0.5) and waits[1] == pytest.approx(2.0, abs=0.5)
    assert states(store, study) == ("failed", "failed")
    assert queries.study(store, study).summary == {"sentence": "error 3"}
    assert left.error == "error 3"


def test_what_no_further_attempt_would_mend_fails_at_once(store: Store) -> None:
    study = submitted(store).study.id
    jobs.fail(store, claimed(store), "wrong", retry=False)
    assert states(store, study) == ("failed", "failed")


def test_workers_that_die_one_after_the_other_use_the_attempts_up(store: Store) -> None:
    study = submitted(store, max_attempts=2).study.id
    for _ in range(2):
        make_due(store)
        claimed(store, "doomed", lease_s=0.0)
        time.sleep(0.01)
        jobs.expire(store)
    assert states(store, study) == ("failed", "failed")
    assert queries.study(store, study).summary == {"sentence": "doomed stopped without a word, at attempt 2 of 2"}


def test_a_released_job_is_claimed_at_once_and_has_lost_no_attempt(store: Store) -> None:
    study = submitted(store, max_attempts=1).study.id
    for _ in range(3):
        job = claimed(store)
        assert jobs.release(store, job).state == "queued"
        assert states(store, study) == ("queued", "queued")
    assert claimed(store).attempts == 1


# Cancelling, resuming, deleting


def test_a_waiting_study_is_cancelled_at_once(store: Store) -> None:
    study = submitted(store).study.id
    assert jobs.request_cancel(store, study).state == "cancelled"
    assert states(store, study) == ("cancelled", "cancelled")
    assert jobs.claim(store, "w", 60.0) is None
    assert jobs.request_cancel(store, study).state == "cancelled"


def test_a_running_study_is_cancelled_by_its_worker(store: Store) -> None:
    study = submitted(store).study.id
    job = claimed(store)
    assert jobs.request_cancel(store, study).state == "running"
    assert jobs.look(store, job) == jobs.heartbeat(store, job, 60.0) == "cancel"
    jobs.finish(store, job, "cancelled")
    assert states(store, study) == ("cancelled", "cancelled")


@pytest.mark.parametrize("leaves", ["dies", "fails", "releases"])
def test_a_cancelled_study_does_not_run_again_when_its_worker_leaves_it(store: Store, leaves: str) -> None:
    study = submitted(store).study.id
    job = claimed(store, lease_s=0.0 if leaves == "dies" else 60.0)
    jobs.request_cancel(store, study)
    time.sleep(0.01)
    if leaves == "fails":
        jobs.fail(store, job, "bug")
    elif leaves == "releases":
        jobs.release(store, job)
    jobs.expire(store)
    assert states(store, study) == ("cancelled", "cancelled")


def test_a_cancelled_study_is_resumed_by_a_new_job_and_only_one(store: Store) -> None:
    study = submitted(store).study.id
    jobs.request_cancel(store, study)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: jobs.resume(store, study), range(8)))
    assert len({job.id for job in made}) == 1
    assert states(store, study) == ("queued", "queued")
    jobs.finish(store, claimed(store), "done")
    with pytest.raises(InputError, match="a study that was cancelled or failed; this one is done"):
        jobs.resume(store, study)


def test_a_deleted_study_takes_its_job_along_and_its_worker_notices(store: Store, result: Make) -> None:
    study = submitted(store, idempotency=("once", "digest")).study.id
    job = claimed(store)
    record.delete_study(store, study)
    assert jobs.look(store, job) == jobs.heartbeat(store, job, 60.0) == "lost"
    with pytest.raises(LeaseLost):
        record.upsert_trial(LeasedStore(store, job), study, result("a"))
    assert jobs.counts(store) == {} and events.since(store, study) == []
    assert submitted(store, idempotency=("once", "digest")).new


# What the command line runs itself


def test_a_study_has_one_runner_and_a_dead_one_is_replaced_at_once(store: Store) -> None:
    job = jobs.begin(store, new(), "me", 60.0)
    assert states(store, job.study_id) == ("running", "running")
    with pytest.raises(StoreError, match=f"study {job.study_id} is being run by me"):
        jobs.take(store, job.study_id, "you", 60.0)
    taken = jobs.take(store, job.study_id, "you", 60.0, gone=lambda holder: holder == "me")
    assert jobs.look(store, job) == "lost" and jobs.look(store, taken) == "held"


def test_workers_do_not_go_on_with_what_a_dead_command_left(store: Store) -> None:
    job = jobs.begin(store, new(), "me", 0.0)
    time.sleep(0.01)
    assert jobs.claim(store, "w", 60.0) is None
    assert states(store, job.study_id) == ("failed", "failed")
    assert jobs.take(store, job.study_id, "me again", 60.0).study_id == job.study_id


# Events


def test_events_are_numbered_within_their_study_and_read_from_where_one_was(store: Store) -> None:
    first, second = submitted(store).study.id, submitted(store).study.id
    for number in range(5):
        events.append(store, first, "progress", {"done": number})
    assert [event.seq for event in events.since(store, first)] == [1, 2, 3, 4, 5, 6]
    assert [event.document for event in events.since(store, first, 4)] == [{"done": 3}, {"done": 4}]
    assert [event.seq for event in events.since(store, first, 0, limit=2)] == [1, 2]
    assert [event.kind for event in events.since(store, second)] == ["state"]


def test_threads_that_append_number_without_gaps(store: Store) -> None:
    study = submitted(store).study.id
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: events.append(store, study, "progress", {"done": n}), range(40)))
    assert [event.seq for event in events.since(store, study)] == list(range(1, 42))


def test_pruning_keeps_what_runs_and_the_last_event_of_every_study(store: Store) -> None:
    over, waiting = submitted(store, idempotency=("once", "digest")).study.id, submitted(store).study.id
    jobs.request_cancel(store, over)
    cut = events.since(store, over)[-1].created_at.replace(year=2100)
    assert events.prune(store, cut) == 1
    assert [event.document["state"] for event in events.since(store, over)] == ["cancelled"]
    assert len(events.since(store, waiting)) == 1
    assert submitted(store, idempotency=("once", "another")).new, "its key was forgotten"


def test_a_trial_result_can_be_stored_under_a_lease_again_and_again(store: Store) -> None:
    study = submitted(store).study.id
    leased = LeasedStore(store, claimed(store))
    result = TrialResult(key="a", state="done", deployment={}, kernel_digest="k0", seed=0)
    for fidelity in (1, 2, 2):
        record.upsert_trial(leased, study, replace(result, fidelity=fidelity))
    assert [(trial.number, trial.fidelity) for trial in queries.trials(store, study)] == [(0, 2)]
