"""The tables: studies, their trials, the trials' operating points; jobs, events and submits; validations."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from db.rows import JobState, StudyState, TrialState, ValidationState


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time kept in UTC; SQLite has no time zones, so there it is stored without and read back with."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Returns the time in UTC; raises ValueError for a time without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a stored time needs a time zone")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Returns the aware time in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """The tables' common types; every constraint has a name, which SQLite needs to alter it later."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (read once by SQLAlchemy)
        dict[str, Any]: JSON(none_as_null=True),
        list[dict[str, Any]]: JSON(none_as_null=True),
        datetime: UtcDateTime(),
        float: Double(),
        str: Text(),
    }


class Study(Base):
    """One search request and where it stands."""

    __tablename__ = "studies"
    __table_args__ = (
        CheckConstraint("state IN ('queued', 'running', 'done', 'infeasible', 'cancelled', 'failed')", name="state"),
        Index(None, "created_at", "id"),
        Index(None, "digest", "seed"),
        Index(None, "name"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str]
    digest: Mapped[str] = mapped_column(String(128))
    state: Mapped[StudyState] = mapped_column(String(16))
    request: Mapped[dict[str, Any]]
    seed: Mapped[int] = mapped_column(BigInteger)
    versions: Mapped[dict[str, Any]]
    kernel_digest: Mapped[str] = mapped_column(String(128))
    summary: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Trial(Base):
    """One deployment of a study as it was last scored."""

    __tablename__ = "trials"
    __table_args__ = (
        CheckConstraint("state IN ('done', 'infeasible', 'failed')", name="state"),
        UniqueConstraint("study_id", "key"),
        UniqueConstraint("study_id", "number"),
        # Counts by state then read no trial, whose curves fill pages.
        Index(None, "study_id", "state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    number: Mapped[int]
    key: Mapped[str]
    state: Mapped[TrialState] = mapped_column(String(16))
    reason: Mapped[str | None]
    deployment: Mapped[dict[str, Any]]
    fidelity: Mapped[int]
    capacity_rps: Mapped[float | None]
    capacity_low_rps: Mapped[float | None]
    capacity_high_rps: Mapped[float | None]
    capacity_level: Mapped[float | None]
    saturated_rps: Mapped[float | None]
    binding: Mapped[str | None]
    bill: Mapped[dict[str, Any] | None]
    metrics: Mapped[dict[str, Any] | None]
    curve: Mapped[list[dict[str, Any]]]
    objectives: Mapped[dict[str, Any]]
    memory: Mapped[dict[str, Any] | None]
    provenance: Mapped[dict[str, Any]]
    kernel_digest: Mapped[str] = mapped_column(String(128))
    seed: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Point(Base):
    """One deployment at one arrival rate: what a frontier is made of."""

    __tablename__ = "points"
    __table_args__ = (Index(None, "study_id", "on_frontier", "rank"), Index(None, "trial_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id", ondelete="CASCADE"))
    rate_rps: Mapped[float]
    metrics: Mapped[dict[str, Any]]
    objectives: Mapped[dict[str, Any]]
    on_frontier: Mapped[bool]
    rank: Mapped[int | None]
    tied: Mapped[bool]


# What a study waits for or is run by; at most one such job a study.
OPEN_JOB = text("state IN ('queued', 'running')")


class Job(Base):
    """One study to be run, and who runs it: `claims` counts how often it was handed out and tells one holder from the next."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint("state IN ('queued', 'running', 'done', 'failed', 'cancelled')", name="state"),
        Index("uq_jobs_study_id_open", "study_id", unique=True, sqlite_where=OPEN_JOB, postgresql_where=OPEN_JOB),
        Index(None, "study_id"),
        Index(None, "state", "priority", "id"),
        Index(None, "key_id", "state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(32))
    state: Mapped[JobState] = mapped_column(String(16))
    priority: Mapped[int]
    key_id: Mapped[str | None]
    attempts: Mapped[int]
    max_attempts: Mapped[int]
    claims: Mapped[int]
    not_before: Mapped[datetime]
    leased_by: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    error: Mapped[str | None]


class Event(Base):
    """Something that happened to a study; `seq` counts from 1 within it, without gaps until old ones are pruned."""

    __tablename__ = "events"
    __table_args__ = (Index(None, "created_at"),)

    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(32))
    document: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Idempotency(Base):
    """A submit that was answered: the same key of the same submitter gets the same study; `key_id` is empty without keys."""

    __tablename__ = "idempotency"
    __table_args__ = (Index(None, "created_at"), Index(None, "study_id"))

    key_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    digest: Mapped[str] = mapped_column(String(128))
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    created_at: Mapped[datetime]


class Validation(Base):
    """One deployment of a study on a real engine at one load, beside what the simulator said of it."""

    __tablename__ = "validations"
    __table_args__ = (
        CheckConstraint("state IN ('done', 'faulted')", name="state"),
        UniqueConstraint("study_id", "trial_id", "engine", "load"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id", ondelete="CASCADE"))
    load: Mapped[float]
    rate_rps: Mapped[float]
    engine: Mapped[str] = mapped_column(String(32))
    device: Mapped[str] = mapped_column(String(64))
    state: Mapped[ValidationState] = mapped_column(String(16))
    fault_kind: Mapped[str | None]
    fault_reason: Mapped[str | None]
    measured: Mapped[dict[str, Any] | None]
    simulated: Mapped[dict[str, Any] | None]
    errors: Mapped[dict[str, Any] | None]
    work: Mapped[dict[str, Any] | None]
    lag: Mapped[dict[str, Any] | None]
    versions: Mapped[dict[str, Any]]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]


class Correction(Base):
    """Factors of the simulator's times on one device and engine, fitted to validations; a name is given once."""

    __tablename__ = "corrections"

    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    device: Mapped[str] = mapped_column(String(64))
    engine: Mapped[str] = mapped_column(String(32))
    factors: Mapped[dict[str, Any]]
    error: Mapped[dict[str, Any]]
    training: Mapped[list[dict[str, Any]]]
    created_at: Mapped[datetime]


class ApiKey(Base):
    """Who may use the service: `hash` is the SHA-256 of a secret that only its holder has."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str]
    hash: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[str] = mapped_column(String(64))
    quota: Mapped[int | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class LoginSession(Base):
    """A browser that showed a key: `hash` is the SHA-256 of what its cookie holds."""

    __tablename__ = "sessions"
    __table_args__ = (Index(None, "key_id"), Index(None, "expires_at"))

    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class TraceFile(Base):
    """An uploaded trace: `content` is the file as it was sent, deflated; `sha256` and `size_bytes` are those of the file."""

    __tablename__ = "traces"
    __table_args__ = (Index(None, "created_at", "sha256"),)

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    summary: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    content: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
