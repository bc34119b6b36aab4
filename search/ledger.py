"""The ledger of a study: what the driver has scored, written to the store as it ends and recalled when resumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from db import queries, record
from db.rows import PointResult, TrialPoint, TrialResult, TrialRow
from db.session import Store
from search.capacity import Estimate
from search.objectives import Interval, OperatingPoint
from search.patience import Patience
from search.trial import Scored, Task
from simulator.kernel.digest import kernel_digest
from simulator.memory import MemoryPlan
from simulator.optime.provenance import Provenance
from simulator.spec.deployment import Resolved
from simulator.spec.metrics import Metrics
from simulator.spec.prices import Bill


@dataclass(frozen=True)
class Ranked:
    """An operating point with its place: on the frontier or not, its rank by the first objective, tied with the best or not."""

    scored: Scored
    point: OperatingPoint
    on_frontier: bool
    rank: int | None
    tied: bool


class Ledger:
    """The trials of one stored study."""

    def __init__(self, store: Store, study_id: str, patience: Patience | None = None) -> None:
        """Takes how long to try to write what is scored, in memory meanwhile; not again by default."""
        self.store, self.study_id, self.patience = store, study_id, patience or Patience(0.0)
        self._rows: dict[str, TrialRow] = queries.finished_trials(store, study_id, kernel_digest())
        self._points: dict[int, list[TrialPoint]] = {}
        for found in queries.points(store, study_id):
            self._points.setdefault(found.trial.id, []).append(found)
        self.recalled = len(self._rows)
        self._numbers = {row.key: row.number for row in queries.trials(store, study_id)}
        self._taken = set(self._numbers.values())

    def number(self, deployment: Resolved, new: int) -> int:
        """Returns the trial's number: its own where it has one, else `new`, or the next free one where another has that."""
        key = deployment.canonical()
        if key not in self._numbers:
            number = new if new not in self._taken else max(self._taken) + 1
            self._numbers[key] = number
            self._taken.add(number)
        return self._numbers[key]

    def recall(self, task: Task) -> Scored | None:
        """Returns what is stored of a task at just its fidelity and seed, by this kernel; None when it must be run."""
        row = self._rows.get(task.key)
        if row is None or (row.fidelity, row.seed) != (task.fidelity.requests, task.seed):
            return None
        return _scored(task, row, self._points.get(row.id, []))

    def record(self, scored: Scored, values: Sequence[dict[str, float | None]], best: tuple[float, ...] | None) -> None:
        """Stores a scored trial with its points, unless a better scoring of it is there."""
        row = self._rows.get(scored.task.key)
        if row is not None and row.fidelity > scored.task.fidelity.requests:
            return
        points = [_point(point, objectives) for point, objectives in zip(scored.points, values, strict=True)]
        first = next(iter(values[0])) if values else None
        top = next((v for v in values if best is not None and v[first] == best[0]), {}) if first else {}
        result = _result(scored, dict(top))
        stored = self.patience(record.upsert_trial, self.store, self.study_id, result, points, scored.task.number)
        self._rows[scored.task.key] = stored
        self._points.pop(stored.id, None)

    def publish(self, ranked: Sequence[Ranked], values: Sequence[dict[str, float | None]]) -> None:
        """Replaces the study's points by the ranked ones."""
        by_key: dict[str, list[PointResult]] = {}
        for place, objectives in zip(ranked, values, strict=True):
            point = _point(place.point, objectives, place.on_frontier, place.rank, place.tied)
            by_key.setdefault(place.scored.task.key, []).append(point)
        self.patience(record.replace_points, self.store, self.study_id, by_key)


def _result(scored: Scored, objectives: dict[str, Any]) -> TrialResult:
    capacity = scored.capacity
    return TrialResult(
        key=scored.task.key,
        state="failed" if scored.broken else ("done" if scored.feasible else "infeasible"),
        reason=scored.reason,
        deployment=scored.deployment.model_dump(mode="json"),
        fidelity=scored.task.fidelity.requests,
        capacity_rps=capacity.value if capacity else None,
        capacity_low_rps=capacity.low if capacity else None,
        capacity_high_rps=capacity.high if capacity else None,
        capacity_level=capacity.level if capacity else None,
        saturated_rps=scored.saturated_rps,
        binding=scored.binding,
        bill=scored.bill.model_dump(mode="json") if scored.bill else None,
        metrics=scored.points[-1].metrics.model_dump(mode="json") if scored.points else None,
        curve=[{"rate_rps": rate, "metrics": metrics.model_dump(mode="json")} for rate, metrics in scored.curve],
        objectives=objectives,
        memory=asdict(scored.memory) if scored.memory else None,
        provenance=_provenance(scored),
        kernel_digest=kernel_digest(),
        seed=scored.task.seed,
    )


def _provenance(scored: Scored) -> dict[str, Any]:
    if scored.provenance is None:
        return {}
    errors = [{"rate_rps": rate, "expected_error": error} for rate, error in scored.expected_errors]
    return {**scored.provenance.model_dump(mode="json"), "notes": list(scored.notes), "expected_errors": errors}


def _point(
    point: OperatingPoint,
    objectives: dict[str, float | None],
    on_frontier: bool = False,
    rank: int | None = None,
    tied: bool = False,
) -> PointResult:
    return PointResult(
        rate_rps=point.rate_rps,
        metrics=point.metrics.model_dump(mode="json"),
        objectives=dict(objectives),
        on_frontier=on_frontier,
        rank=rank,
        tied=tied,
    )


def _scored(task: Task, row: TrialRow, found: Sequence[TrialPoint]) -> Scored:
    """Returns the trial as it was before it was stored."""
    if row.state == "infeasible":
        return Scored(task, task.deployment, reason=row.reason)
    capacity = None
    if row.capacity_rps is not None and row.capacity_low_rps is not None and row.capacity_high_rps is not None:
        capacity = Estimate(row.capacity_rps, row.capacity_low_rps, row.capacity_high_rps, row.capacity_level or 0.0)
    deployment = Resolved.parse(row.deployment)
    bill = Bill.parse(row.bill) if row.bill else None
    points = tuple(
        OperatingPoint(
            trial=row.number,
            rate_rps=entry.point.rate_rps,
            metrics=Metrics.parse(entry.point.metrics),
            gpus=deployment.gpus,
            capacity_rps=Interval(capacity.value, capacity.low, capacity.high) if capacity else None,
            usd_per_hour=bill.usd_per_hour if bill else None,
        )
        for entry in sorted(found, key=lambda entry: entry.point.rate_rps)
    )
    provenance = {name: value for name, value in row.provenance.items() if name not in ("notes", "expected_errors")}
    return Scored(
        task,
        deployment,
        capacity=capacity,
        binding=row.binding,
        saturated_rps=row.saturated_rps,
        points=points,
        curve=tuple((entry["rate_rps"], Metrics.parse(entry["metrics"])) for entry in row.curve),
        bill=bill,
        memory=MemoryPlan(**row.memory) if row.memory else None,
        provenance=Provenance.parse(provenance) if provenance else None,
        notes=tuple(row.provenance.get("notes", ())),
    )
