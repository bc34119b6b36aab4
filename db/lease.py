"""Leases: who holds a job, told in every transaction that writes on its behalf."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.rows import JobRow
from db.session import Store
from db.tables import Job
from simulator.errors import StoreError


class LeaseLost(StoreError):
    """The job is held by another worker, is over, or is gone: nothing of this transaction is stored."""


class LeasedStore(Store):
    """A store whose writes succeed only while the job's lease is held: a worker that was given up for dead changes nothing."""

    def __init__(self, store: Store, job: JobRow) -> None:
        super().__init__(store.engine)
        self.job = job

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yields a session in one transaction that holds off other claims of the job; raises LeaseLost when there was one."""
        with super().write() as session:
            # A shared lock, so that nobody can take the job over between here and the end of the transaction.
            held = session.scalar(_mine(self.job).with_for_update(read=True))
            if held is None:
                raise _lost(self.job)
            yield session


def locked(session: Session, job: JobRow) -> Job:
    """Returns the job's record, locked; raises LeaseLost when it is not held any more."""
    if session.scalar(_mine(job).with_for_update()) is None:
        raise _lost(job)
    return session.get_one(Job, job.id)


def clock(session: Session) -> datetime:
    """Returns the time by which leases run: the server's, or this machine's, which all users of a file share."""
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    now: datetime | None = session.scalar(select(func.clock_timestamp()))
    assert now is not None
    return now


def _mine(job: JobRow):  # type: ignore[no-untyped-def]
    return select(Job.id).where(Job.id == job.id, Job.claims == job.claims, Job.state == "running")


def _lost(job: JobRow) -> LeaseLost:
    return LeaseLost(f"study {job.study_id} is no longer run here: its job was cancelled, removed or taken over")
