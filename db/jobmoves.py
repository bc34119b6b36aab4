"""What becomes of a job and of its study with it, step by step, in a transaction of the caller's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from db import record, turns
from db.lease import clock
from db.rows import FinalState, JobRow, JobState, row_of
from db.tables import Job, Study

FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 300.0
_FINISHED: Mapping[FinalState, JobState] = {"done": "done", "infeasible": "done", "cancelled": "cancelled", "failed": "failed"}


def new_job(session: Session, study_id: str, kind: str, priority: int, key_id: str | None, max_attempts: int) -> Job:
    """Returns a new job of a study, queued."""
    now = clock(session)
    job = Job(
        study_id=study_id,
        kind=kind,
        state="queued",
        priority=priority,
        key_id=key_id,
        attempts=0,
        max_attempts=max_attempts,
        claims=0,
        not_before=now,
        created_at=now,
    )
    session.add(job)
    session.flush()
    return job


def hand_out(session: Session, job: Job, worker: str, lease_s: float) -> JobRow:
    """Returns the job, now held by `worker` for `lease_s` seconds; the study runs."""
    now = clock(session)
    job.state = "running"
    job.claims += 1
    job.attempts += 1
    job.leased_by, job.lease_until = worker, now + timedelta(seconds=lease_s)
    job.started_at = job.started_at or now
    record.moved(session, job.study_id, "running")
    session.flush()
    return row_of(JobRow, job)


def again(session: Session, job: Job, error: str, *, retry: bool = True) -> None:
    """Queues the job once more for later, or ends it: cancelled where that was asked for, failed after its attempts."""
    if job.cancel_requested_at is not None:
        ended(session, job, "cancelled", None)
        return
    job.error = error
    if retry and job.attempts < job.max_attempts:
        queue(session, job, min(FIRST_DELAY_S * 2.0 ** (job.attempts - 1), LONGEST_DELAY_S))
    else:
        ended(session, job, "failed", {"sentence": error})


def queue(session: Session, job: Job, delay_s: float) -> None:
    """Lets the job and its study wait for a worker, for `delay_s` seconds at least."""
    job.state, job.leased_by, job.lease_until = "queued", None, None
    job.not_before = clock(session) + timedelta(seconds=delay_s)
    record.moved(session, job.study_id, "queued")


def ended(session: Session, job: Job, state: FinalState, summary: dict[str, Any] | None) -> Study:
    """Returns the study in its final state, its job over."""
    job.state, job.lease_until, job.finished_at = _FINISHED[state], None, clock(session)
    return record.finished(session, job.study_id, state, summary)


def jobs_of(study_id: str) -> Select[Job]:
    """Returns the query of a study's jobs, latest first."""
    return select(Job).where(Job.study_id == study_id).order_by(Job.id.desc())


def open_job(session: Session, study_id: str) -> Job | None:
    """Returns the job of a study that waits or runs, locked; without one, the study is locked, so that nobody makes one now."""
    waiting = jobs_of(study_id).where(Job.state.in_(("queued", "running"))).with_for_update()
    found = session.scalar(waiting)
    if found is None:
        turns.lock(session, study_id)
        # Another one may have been made before the study was locked.
        found = session.scalar(waiting)
    return found
