"""The tables of nightly sweeps: runs of a suite, their cases, and which run bears the name of a baseline."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.sweep_rows import SweepCaseState
from db.tables import Base


class SweepRun(Base):
    """One run of a suite."""

    __tablename__ = "sweep_runs"
    __table_args__ = (Index(None, "created_at", "id"), Index(None, "suite", "created_at"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    suite: Mapped[str] = mapped_column(String(128))
    verdict: Mapped[str] = mapped_column(String(16))
    baseline: Mapped[str] = mapped_column(String(128))
    baseline_run: Mapped[str | None] = mapped_column(String(32))
    seed_shift: Mapped[int]
    host: Mapped[str]
    versions: Mapped[dict[str, Any]]
    summary: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime]


class SweepCase(Base):
    """One pinned case of a run, with its numbers and what differs from the baseline."""

    __tablename__ = "sweep_cases"
    __table_args__ = (
        CheckConstraint("state IN ('done', 'infeasible', 'failed')", name="state"),
        UniqueConstraint("run_id", "name"),
        Index(None, "name"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("sweep_runs.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(128))
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[SweepCaseState] = mapped_column(String(16))
    reason: Mapped[str | None]
    numbers: Mapped[dict[str, Any]]
    digests: Mapped[dict[str, Any]]
    findings: Mapped[list[dict[str, Any]]]
    causes: Mapped[list[dict[str, Any]]]
    notes: Mapped[list[dict[str, Any]]]
    seconds: Mapped[float]


class Baseline(Base):
    """That somebody made a run the baseline of its suite under a name, and why; the newest of a name holds."""

    __tablename__ = "sweep_baselines"
    __table_args__ = (Index(None, "suite", "name", "id"), Index(None, "run_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    suite: Mapped[str] = mapped_column(String(128))
    name: Mapped[str] = mapped_column(String(128))
    run_id: Mapped[str] = mapped_column(ForeignKey("sweep_runs.id", ondelete="CASCADE"))
    reason: Mapped[str]
    approved_by: Mapped[str]
    approved_at: Mapped[datetime]
