"""What goes into the store of nightly sweeps and what comes out: plain frozen dataclasses, as in `db.rows`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

SweepCaseState = Literal["done", "infeasible", "failed"]


@dataclass(frozen=True, kw_only=True)
class SweepCaseResult:
    """One pinned case of a sweep: its `numbers` by name, the digests that it rests on, and how it differs from the baseline.

    `kind` is `search`, `simulate`, `capacity`, `prices`, `accuracy` or `engine`; `findings` are what may fail the run,
    `causes` what of the case's digests differs, `notes` what is told and fails nothing.
    """

    name: str
    kind: str
    state: SweepCaseState
    reason: str | None = None
    numbers: dict[str, Any] = field(default_factory=dict)
    digests: dict[str, Any] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)
    causes: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SweepCaseRow(SweepCaseResult):
    """A stored case of a sweep."""

    id: int
    run_id: str


@dataclass(frozen=True, kw_only=True)
class SweepRunResult:
    """One run of a suite; `verdict` is `first` without a baseline, else `same` or `changed`.

    `baseline` is the name that it was compared with, `baseline_run` the run that bore that name then.
    """

    suite: str
    verdict: str
    baseline: str
    baseline_run: str | None
    seed_shift: int
    host: str
    versions: dict[str, Any]
    summary: dict[str, Any]
    created_at: datetime
    finished_at: datetime


@dataclass(frozen=True, kw_only=True)
class SweepRunRow(SweepRunResult):
    """A stored run of a suite."""

    id: str


@dataclass(frozen=True, kw_only=True)
class BaselineRow:
    """That a run was made the baseline of its suite under a name: why, by whom, when; the newest of a name holds."""

    id: int
    suite: str
    name: str
    run_id: str
    reason: str
    approved_by: str
    approved_at: datetime
