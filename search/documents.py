"""Documents: what the command line and REST say of studies, as plain mappings with a fixed order of keys.

Nothing in a frontier's items depends on the clock or on the machine, so that one request and seed give the same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from db.rows import PointRow, StudyLine, StudyRow, TrialPoint, TrialRow, TrialState
from search import objectives
from simulator.expected.words import NOT_VALIDATED

TRIAL_STATES: tuple[TrialState, ...] = get_args(TrialState)
Document = dict[str, Any]


def study(row: StudyRow, trials: Mapping[TrialState, int] | None = None) -> Document:
    """Returns what a study is, without times: they would differ between runs of one request."""
    document: Document = {
        "id": row.id,
        "name": row.name,
        "state": row.state,
        "seed": row.seed,
        "digest": row.digest,
        "model": row.request.get("model"),
        "slo": row.request.get("slo"),
        "demand": row.request.get("demand"),
        "prices": row.request.get("prices"),
        "objectives": [_objective(name) for name in row.request.get("objectives", ())],
    }
    if trials is not None:
        document["trials"] = {state: trials.get(state, 0) for state in TRIAL_STATES}
    return document


def _objective(name: str) -> Document:
    found = objectives.load(name)
    return {"name": name, "direction": found.direction, "unit": found.unit}


def item(found: TrialPoint) -> Document:
    """Returns one operating point beside its deployment, capacity and rent."""
    point, trial = found.point, found.trial
    return {
        "trial": trial.number,
        "rank": point.rank,
        "tied": point.tied,
        "deployment": trial.deployment,
        "rate_rps": point.rate_rps,
        "metrics": point.metrics,
        "objectives": point.objectives,
        "expected_error": found.expected_error or {"status": NOT_VALIDATED},
        "capacity_rps": capacity(trial),
        "binding": trial.binding,
        "bill": trial.bill,
    }


def capacity(trial: TrialRow) -> Document | None:
    """Returns a trial's capacity with its interval, or None where it was not measured."""
    if trial.capacity_rps is None:
        return None
    return {
        "value": trial.capacity_rps,
        "low": trial.capacity_low_rps,
        "high": trial.capacity_high_rps,
        "level": trial.capacity_level,
    }


def frontier(row: StudyRow, points: Sequence[TrialPoint], trials: Iterable[TrialRow] | Mapping[TrialState, int] = ()) -> Document:
    """Returns the document of `search --json` and `frontier --json`, its items by rank; trials are counted, or counted already."""
    counts = trials if isinstance(trials, Mapping) else Counter(trial.state for trial in trials)
    return {"study": study(row, counts), "items": [item(point) for point in points], "next_cursor": None}


def one_study(line: StudyLine) -> Document:
    """Returns all of a study but its trials: as in the list, with its request, versions and summary."""
    row = line.study
    about = {"request": row.request, "versions": row.versions, "kernel_digest": row.kernel_digest, "summary": row.summary}
    return {**_line(line), **about}


def trials(rows: Sequence[TrialRow], next_cursor: str | None = None) -> Document:
    """Returns a page of trials, each as `export --json` has it."""
    return {"items": [trial(row) for row in rows], "next_cursor": next_cursor}


def studies(lines: Sequence[StudyLine], next_cursor: str | None = None) -> Document:
    """Returns the list of studies, newest first; `next_cursor` is the last one's id when there are more."""
    return {"items": [_line(line) for line in lines], "next_cursor": next_cursor}


def _line(line: StudyLine) -> Document:
    row = line.study
    return {
        **study(row, line.trials),
        "created_at": row.created_at.isoformat(),
        "started_at": None if row.started_at is None else row.started_at.isoformat(),
        "finished_at": None if row.finished_at is None else row.finished_at.isoformat(),
        "best": None if line.best is None else _best(line.best),
    }


def _best(found: TrialPoint) -> Document:
    return {
        "trial": found.trial.number,
        "deployment": found.trial.deployment,
        "rate_rps": found.point.rate_rps,
        "objectives": found.point.objectives,
    }


def whole(row: StudyRow, trials: Sequence[TrialRow], points: Sequence[TrialPoint]) -> Document:
    """Returns everything that the store knows of a study: request, trials with their curves, operating points."""
    counts = Counter(each.state for each in trials)
    return {
        "study": {**study(row, counts), "request": row.request, "versions": row.versions, "kernel_digest": row.kernel_digest,
                  "summary": row.summary},
        "trials": [trial(each) for each in trials],
        "points": [_point(found.point, found.trial) for found in points],
    }  # fmt: skip


def trial(row: TrialRow) -> Document:
    """Returns all that is stored of a trial but its operating points."""
    return {
        "trial": row.number,
        "state": row.state,
        "reason": row.reason,
        "deployment": row.deployment,
        "requests_per_run": row.fidelity,
        "capacity_rps": capacity(row),
        "saturated_rps": row.saturated_rps,
        "binding": row.binding,
        "bill": row.bill,
        "metrics": row.metrics,
        "curve": row.curve,
        "objectives": row.objectives,
        "memory": row.memory,
        "provenance": row.provenance,
        "seed": row.seed,
        "kernel_digest": row.kernel_digest,
    }


def _point(point: PointRow, trial: TrialRow) -> Document:
    return {
        "trial": trial.number,
        "rate_rps": point.rate_rps,
        "on_frontier": point.on_frontier,
        "rank": point.rank,
        "tied": point.tied,
        "metrics": point.metrics,
        "objectives": point.objectives,
    }


CSV_FIRST = ("trial", "state", "reason", "on_frontier", "rank", "tied", "rate_rps")


def rows(trials: Sequence[TrialRow], points: Sequence[TrialPoint]) -> list[Document]:
    """Returns one flat row an operating point, and one a trial that has none, all with the same keys in the same order.

    Percentiles are named as in an Slo (`ttft_p99_s`), objectives and rent by a prefix (`objective_...`, `bill_...`).
    """
    by_trial: dict[int, list[PointRow]] = {trial.id: [] for trial in trials}
    for found in points:
        by_trial[found.trial.id].append(found.point)
    flat = [_flat(trial, point) for trial in trials for point in by_trial[trial.id] or (None,)]
    names = dict.fromkeys(name for row in flat for name in row)
    return [{name: row.get(name) for name in names} for row in flat]


def _flat(trial: TrialRow, point: PointRow | None) -> Document:
    first: Document = dict.fromkeys(CSV_FIRST)
    first.update(trial=trial.number, state=trial.state, reason=trial.reason)
    metrics: Mapping[str, Any] = {}
    objective_values: Mapping[str, Any] = {}
    if point is not None:
        first.update(on_frontier=point.on_frontier, rank=point.rank, tied=point.tied, rate_rps=point.rate_rps)
        metrics, objective_values = point.metrics, point.objectives
    return {
        **first,
        **{name: _cell(value) for name, value in trial.deployment.items()},
        "capacity_rps": trial.capacity_rps,
        "capacity_low_rps": trial.capacity_low_rps,
        "capacity_high_rps": trial.capacity_high_rps,
        "saturated_rps": trial.saturated_rps,
        "binding": trial.binding,
        **{f"bill_{name}": value for name, value in (trial.bill or {}).items()},
        **{f"objective_{name}": value for name, value in objective_values.items()},
        **_flat_metrics(metrics),
    }


def _cell(value: object) -> object:
    """Returns a knob as one cell: a list or a mapping as its JSON, nothing for an empty one."""
    if not isinstance(value, Mapping | list | tuple):
        return value
    return json.dumps(value) if value else None


def _flat_metrics(metrics: Mapping[str, Any]) -> Document:
    """Returns numbers and distributions a column each; what has parts of its own (classes, stages, time) is in the JSON alone."""
    flat: Document = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping) and "p50" in value:
            unit = "_s" if name.endswith("_s") else ""
            flat.update({f"{name.removesuffix('_s')}_{statistic}{unit}": number for statistic, number in value.items()})
        elif not isinstance(value, Mapping | list | tuple):
            flat[name] = value
    return flat
