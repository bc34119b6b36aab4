"""Who runs what: jobs are handed out under a lease, renewed while they run, and taken back when it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from db import record
from db.jobmoves import again, ended, hand_out, new_job, open_job
from db.lease import LeaseLost, clock, locked
from db.record import NewStudy
from db.rows import JobRow
from db.session import Store
from db.tables import Job
from simulator.errors import StoreError

Beat = Literal["held", "cancel", "lost"]


@dataclass(frozen=True)
class Limits:
    """Which jobs a worker may take: their kinds, and how many of one API key may run at once (None: any number)."""

    running_per_key: int | None = None
    kinds: tuple[str, ...] = ("search",)


def begin(store: Store, study: NewStudy, worker: str, lease_s: float) -> JobRow:
    """Returns the job of a new study that its maker runs itself, under a lease; when the maker dies, nobody else goes on."""
    with store.write() as session:
        made = record.created(session, **study)
        job = new_job(session, made.id, "command", 0, None, 1)
        return hand_out(session, job, worker, lease_s)


def take(store: Store, study_id: str, worker: str, lease_s: float, gone: Callable[[str], bool] = lambda holder: False) -> JobRow:
    """Returns the job of an unfinished study, now held by `worker`; raises StoreError while another holds it.

    `gone` tells of a holder whether it is known to be dead, so that its lease need not be waited for.
    """
    with store.write() as session:
        job = open_job(session, study_id)
        if job is None:
            job = new_job(session, study_id, "command", 0, None, 1)
        elif job.state == "running" and _lives(job, clock(session)) and not gone(job.leased_by or ""):
            raise StoreError(f"study {study_id} is being run by {job.leased_by}")
        job.cancel_requested_at = None
        return hand_out(session, job, worker, lease_s)


def claim(store: Store, worker: str, lease_s: float, limits: Limits | None = None) -> JobRow | None:
    """Returns the job that is next, now held by `worker` for `lease_s` seconds, or None when there is none.

    Next is the highest priority, among equals the key with the fewest running jobs, then the oldest job. Jobs whose
    lease ended are queued again first, or failed when they had their attempts.
    """
    asked = limits or Limits()
    expire(store)
    with store.write() as session:
        _take_turns(session, asked)
        now = clock(session)
        for priority, key in _in_turn(session, asked, now):
            job = session.scalar(_oldest(priority, key, asked, now))
            if job is not None:
                return hand_out(session, job, worker, lease_s)
        return None


def _take_turns(session: Session, limits: Limits) -> None:
    """Returns when no other claim counts what a key runs: on PostgreSQL two could find room for one job each, and both take it."""
    if limits.running_per_key is not None and session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext("trimtab claims"))))


def _in_turn(session: Session, limits: Limits, now: datetime) -> list[tuple[int, str]]:
    """Returns whose jobs are next, as priority and key ('' without one), leaving out keys that have their quota."""
    key = func.coalesce(Job.key_id, "").label("key")
    running = select(key, func.count().label("jobs")).where(Job.state == "running", Job.kind.in_(limits.kinds)).group_by(key)
    busy = {row.key: row.jobs for row in session.execute(running)}
    waiting = select(Job.priority, key, func.min(Job.id).label("first")).where(*_due(limits, now)).group_by(Job.priority, key)
    most = limits.running_per_key
    found = [row for row in session.execute(waiting) if most is None or not row.key or busy.get(row.key, 0) < most]
    found.sort(key=lambda row: (-row.priority, busy.get(row.key, 0), row.first))
    return [(row.priority, row.key) for row in found]


def _oldest(priority: int, key: str, limits: Limits, now: datetime) -> Select[Job]:
    whose = func.coalesce(Job.key_id, "") == key
    query = select(Job).where(*_due(limits, now), Job.priority == priority, whose).order_by(Job.id).limit(1)
    return query.with_for_update(skip_locked=True)


def _due(limits: Limits, now: datetime) -> tuple[ColumnElement[bool], ...]:
    return Job.state == "queued", Job.not_before <= now, Job.kind.in_(limits.kinds)


def _lives(job: Job, now: datetime) -> bool:
    return job.lease_until is not None and job.lease_until > now


def heartbeat(store: Store, job: JobRow, lease_s: float) -> Beat:
    """Returns `held`, `cancel` when the study is to be stopped, or `lost`; a lease that is held then ends in `lease_s` seconds."""
    with store.write() as session:
        try:
            found = locked(session, job)
        except LeaseLost:
            return "lost"
        found.lease_until = clock(session) + timedelta(seconds=lease_s)
        return "held" if found.cancel_requested_at is None else "cancel"


def look(store: Store, job: JobRow) -> Beat:
    """Returns the same as `heartbeat`, renews nothing and waits for nobody."""
    with store.read() as session:
        found = session.get(Job, job.id)
        if found is None or found.claims != job.claims or found.state != "running":
            return "lost"
        return "held" if found.cancel_requested_at is None else "cancel"


def expire(store: Store) -> int:
    """Returns how many jobs had a lease that ended: they wait for another worker now, or failed, or are cancelled."""
    with store.read() as session:
        if session.scalar(_expired(clock(session)).limit(1)) is None:
            return 0
    with store.write() as session:
        found = session.scalars(_expired(clock(session)).limit(100).with_for_update(skip_locked=True)).all()
        for job in found:
            if job.cancel_requested_at is not None:
                ended(session, job, "cancelled", None)
            else:
                again(session, job, f"{job.leased_by} stopped without a word, at attempt {job.attempts} of {job.max_attempts}")
        return len(found)


def _expired(now: datetime) -> Select[Job]:
    return select(Job).where(Job.state == "running", Job.lease_until < now).order_by(Job.id)
