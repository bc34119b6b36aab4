"""What goes into the store and what comes out: plain frozen dataclasses, free of SQL.

A `...Result` is what a caller writes; the `...Row` of the same noun adds what the store knows. JSON fields hold
dicts, lists, text, booleans, None and finite numbers. Times are aware and in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal, TypeVar

StudyState = Literal["queued", "running", "done", "infeasible", "cancelled", "failed"]
FinalState = Literal["done", "infeasible", "cancelled", "failed"]
TrialState = Literal["done", "infeasible", "failed"]
ValidationState = Literal["done", "faulted"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
Row = TypeVar("Row")


@dataclass(frozen=True, kw_only=True)
class StudyRow:
    """A study: `digest` is that of the canonical request, `kernel_digest` that of the code which simulates."""

    id: str
    name: str
    digest: str
    state: StudyState
    request: dict[str, Any]
    seed: int
    versions: dict[str, Any]
    kernel_digest: str
    summary: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One deployment as scored; `key` is its canonical key (2,000 bytes at most), `fidelity` the requests per run."""

    key: str
    state: TrialState
    deployment: dict[str, Any]
    kernel_digest: str
    seed: int
    reason: str | None = None
    fidelity: int = 0
    capacity_rps: float | None = None
    capacity_low_rps: float | None = None
    capacity_high_rps: float | None = None
    capacity_level: float | None = None
    saturated_rps: float | None = None
    binding: str | None = None
    bill: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    curve: list[dict[str, Any]] = field(default_factory=list)
    objectives: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrialRow(TrialResult):
    """A stored trial; `number` counts from 0 within its study and outlives a new scoring."""

    id: int
    study_id: str
    number: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class PointResult:
    """An operating point: a deployment at an arrival rate; `rank` orders the frontier, `tied` marks the undecided."""

    rate_rps: float
    metrics: dict[str, Any]
    objectives: dict[str, Any]
    on_frontier: bool = False
    rank: int | None = None
    tied: bool = False


@dataclass(frozen=True, kw_only=True)
class PointRow(PointResult):
    """A stored operating point."""

    id: int
    study_id: str
    trial_id: int


@dataclass(frozen=True)
class TrialPoint:
    """An operating point beside the trial that it belongs to."""

    point: PointRow
    trial: TrialRow

    @property
    def expected_error(self) -> dict[str, Any] | None:
        """How far the numbers of the point may be off; None where it was not worked out, as for all that is not published."""
        stored = self.trial.provenance.get("expected_errors") or ()
        return next((each["expected_error"] for each in stored if each["rate_rps"] == self.point.rate_rps), None)


@dataclass(frozen=True)
class StudyLine:
    """A study as a list shows it: trials counted by state, and the first point of the frontier."""

    study: StudyRow
    trials: Mapping[TrialState, int]
    best: TrialPoint | None


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """A study to be run; `id` and `claims` together are its holder's lease, which ends at `lease_until` unless renewed.

    `attempts` counts the claims that were not given back, `key_id` names the API key that submitted it.
    """

    id: int
    study_id: str
    kind: str
    state: JobState
    priority: int
    key_id: str | None
    attempts: int
    max_attempts: int
    claims: int
    not_before: datetime
    leased_by: str | None
    lease_until: datetime | None
    cancel_requested_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None


@dataclass(frozen=True, kw_only=True)
class EventRow:
    """Something that happened to a study: `kind` is `state`, `progress` or `note`; `seq` counts from 1 within the study."""

    study_id: str
    seq: int
    kind: str
    document: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class ValidationResult:
    """A deployment on a real engine at `load`, a share of its claimed capacity; `rate_rps` is what that came to.

    `measured` and `simulated` are Metrics of the same requests, `errors` their relative differences, `work` where the
    simulator's seconds went. A faulted one has `fault_kind` and `fault_reason` instead.
    """

    load: float
    rate_rps: float
    engine: str
    device: str
    state: ValidationState
    started_at: datetime
    finished_at: datetime
    fault_kind: str | None = None
    fault_reason: str | None = None
    measured: dict[str, Any] | None = None
    simulated: dict[str, Any] | None = None
    errors: dict[str, Any] | None = None
    work: dict[str, Any] | None = None
    lag: dict[str, Any] | None = None
    versions: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ValidationRow(ValidationResult):
    """A stored validation."""

    id: int
    study_id: str
    trial_id: int


@dataclass(frozen=True, kw_only=True)
class CorrectionResult:
    """Factors by operator class, their uncertainty in `error` with the error left out deployment by deployment."""

    name: str
    device: str
    engine: str
    factors: dict[str, Any]
    error: dict[str, Any]
    training: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class CorrectionRow(CorrectionResult):
    """A stored correction."""

    created_at: datetime


def values_of(result: Any) -> dict[str, Any]:
    """Returns the fields by name, not copied: what `asdict` copies in depth costs more than the write."""
    return {item.name: getattr(result, item.name) for item in fields(result)}


def row_of(cls: type[Row], stored: object) -> Row:
    """Returns the dataclass `cls` filled from the attributes of a loaded record."""
    return cls(**{item.name: getattr(stored, item.name) for item in fields(cls)})  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class KeyRow:
    """An API key without its secret; `scopes` are apart by commas, `quota` is the most jobs that it may have open."""

    id: str
    name: str
    scopes: str
    quota: int | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class TraceRow:
    """An uploaded trace without its content: the hash and size of the file as it was sent, and what is in it."""

    sha256: str
    name: str
    size_bytes: int
    summary: dict[str, Any]
    created_at: datetime
