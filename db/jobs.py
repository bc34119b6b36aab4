"""The queue: jobs as rows beside the studies that they run, each change one transaction with that of its study.

A job is `queued`, `running` under a lease, or over. Who holds it is told by `id` and `claims` of the JobRow that was
claimed: a worker whose lease ended and was claimed by another one is refused by LeaseLost whatever it then does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db import record, turns
from db.claims import Beat, Limits, begin, claim, expire, heartbeat, look, take
from db.jobmoves import again, ended, jobs_of, new_job, open_job, queue
from db.lease import LeasedStore, LeaseLost, clock, locked
from db.record import NewStudy
from db.rows import FinalState, JobRow, JobState, StudyRow, row_of
from db.session import Store
from db.tables import ApiKey, Idempotency, Job, Study
from simulator.errors import InputError, OverQuota, StoreError

__all__ = [
    "Beat",
    "LeaseLost",
    "LeasedStore",
    "Limits",
    "NewStudy",
    "Submitted",
    "begin",
    "claim",
    "counts",
    "expire",
    "fail",
    "finish",
    "heartbeat",
    "look",
    "of_study",
    "release",
    "request_cancel",
    "resume",
    "submit",
    "take",
]
MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class Submitted:
    """A study and its job; `new` is false where the same submit was answered before."""

    study: StudyRow
    job: JobRow
    new: bool


def submit(
    store: Store,
    study: NewStudy,
    *,
    kind: str = "search",
    priority: int = 0,
    key_id: str | None = None,
    max_attempts: int = MAX_ATTEMPTS,
    idempotency: tuple[str, str] | None = None,
) -> Submitted:
    """Returns a new study and its job, both stored or neither; an `idempotency` key that was used gets what it got then.

    `idempotency` is a key and the digest of what was asked under it; raises InputError when it was another, and OverQuota
    when the API key `key_id` has as many jobs as it may have.
    """
    try:
        return _submitted(store, study, kind, priority, key_id, max_attempts, idempotency)
    except StoreError as error:
        # Two submits under one new key met on PostgreSQL: the other one is stored now.
        if idempotency is None or not isinstance(error.__cause__, IntegrityError):
            raise
        return _submitted(store, study, kind, priority, key_id, max_attempts, idempotency)


def _submitted(
    store: Store,
    study: NewStudy,
    kind: str,
    priority: int,
    key_id: str | None,
    max_attempts: int,
    idempotency: tuple[str, str] | None,
) -> Submitted:
    with store.write() as session:
        if idempotency is not None:
            key, digest = idempotency
            known = session.get(Idempotency, (key_id or "", key))
            if known is not None:
                return _answered(session, known, digest)
        _check_quota(session, key_id)
        made = record.created(session, **study)
        job = new_job(session, made.id, kind, priority, key_id, max_attempts)
        if idempotency is not None:
            now = clock(session)
            session.add(Idempotency(key_id=key_id or "", key=key, digest=digest, study_id=made.id, created_at=now))
        session.flush()
        return Submitted(row_of(StudyRow, made), row_of(JobRow, job), new=True)


def _answered(session: Session, known: Idempotency, digest: str) -> Submitted:
    if known.digest != digest:
        raise InputError("Idempotency-Key", known.key, "a key that was not used for another request")
    job = session.scalars(jobs_of(known.study_id).limit(1)).one()
    return Submitted(row_of(StudyRow, session.get_one(Study, known.study_id)), row_of(JobRow, job), new=False)


def resume(store: Store, study_id: str, *, priority: int = 0, key_id: str | None = None) -> JobRow:
    """Returns the job that will go on with a cancelled or failed study, or the one that does already.

    Raises InputError for a study that has its answer.
    """
    with store.write() as session:
        found = open_job(session, study_id)
        if found is not None:
            if found.cancel_requested_at is not None:
                raise InputError("study", study_id, "a study that is not just being cancelled")
            return row_of(JobRow, found)
        study = turns.locked(session, study_id)
        if study.state in ("done", "infeasible"):
            raise InputError("study", study_id, f"a study that was cancelled or failed; this one is {study.state}")
        _check_quota(session, key_id)
        record.moved(session, study_id, "queued")
        return row_of(JobRow, new_job(session, study_id, "search", priority, key_id, MAX_ATTEMPTS))


def _check_quota(session: Session, key_id: str | None) -> None:
    """Raises OverQuota when the key has all the jobs that it may have; submits of one key take turns."""
    if key_id is None:
        return
    quota = session.scalar(select(ApiKey.quota).where(ApiKey.id == key_id).with_for_update())
    if quota is None:
        return
    under_way = session.scalar(select(func.count()).where(Job.key_id == key_id, Job.state.in_(("queued", "running")))) or 0
    if under_way >= quota:
        raise OverQuota(f"the key has {under_way} studies under way, and may have {quota}; submit again when one has ended")


def finish(store: Store, job: JobRow, state: FinalState, summary: dict[str, Any] | None = None) -> StudyRow:
    """Returns the study, now in its final state together with its job; raises LeaseLost when another holds the job."""
    with store.write() as session:
        return row_of(StudyRow, ended(session, locked(session, job), state, summary))


def fail(store: Store, job: JobRow, error: str, *, retry: bool = True) -> JobRow:
    """Returns the job, queued again for later, or failed with its study when it had its attempts or `retry` is false."""
    with store.write() as session:
        found = locked(session, job)
        again(session, found, error, retry=retry)
        return row_of(JobRow, found)


def release(store: Store, job: JobRow) -> JobRow:
    """Returns the job, given back for the next worker to go on at once: this claim does not count as an attempt."""
    with store.write() as session:
        found = locked(session, job)
        found.attempts -= 1
        if found.kind == "command" or found.cancel_requested_at is not None:
            ended(session, found, "cancelled", None)
        else:
            queue(session, found, 0.0)
        return row_of(JobRow, found)


def request_cancel(store: Store, study_id: str) -> StudyRow:
    """Returns the study: cancelled at once when nobody runs it, else still running, and whoever runs it is told."""
    with store.write() as session:
        job = open_job(session, study_id)
        if job is None:
            return row_of(StudyRow, record.finished(session, study_id, "cancelled", None))
        if job.state == "queued":
            return row_of(StudyRow, ended(session, job, "cancelled", None))
        job.cancel_requested_at = job.cancel_requested_at or clock(session)
        return row_of(StudyRow, turns.locked(session, study_id))


def of_study(store: Store, study_id: str) -> JobRow | None:
    """Returns the latest job of a study, None when it never had one."""
    with store.read() as session:
        found = session.scalar(jobs_of(study_id).limit(1))
        return None if found is None else row_of(JobRow, found)


def counts(store: Store) -> dict[JobState, int]:
    """Returns how many jobs there are in each state."""
    with store.read() as session:
        found = session.execute(select(Job.state, func.count().label("jobs")).group_by(Job.state))
        return {row.state: row.jobs for row in found}
