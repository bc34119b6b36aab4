"""Rows from documents: what a service answers, as the tables of the command line take it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from db.rows import PointRow, StudyLine, StudyRow, TrialPoint, TrialRow

# What a document leaves out and no table shows.
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def study(document: Mapping[str, Any]) -> StudyRow:
    """Returns the study of a document of a list, or of one study alone."""
    request = document.get("request") or {
        name: document[name] for name in ("model", "slo", "demand", "prices") if name in document
    } | {"objectives": [objective["name"] for objective in document["objectives"]]}
    return StudyRow(
        id=document["id"],
        name=document["name"],
        digest=document["digest"],
        state=document["state"],
        request=request,
        seed=document["seed"],
        versions=document.get("versions", {}),
        kernel_digest=document.get("kernel_digest", ""),
        summary=document.get("summary"),
        created_at=_moment(document.get("created_at")) or _NEVER,
        started_at=_moment(document.get("started_at")),
        finished_at=_moment(document.get("finished_at")),
    )


def line(document: Mapping[str, Any]) -> StudyLine:
    """Returns the line of a list of studies."""
    row, best = study(document), document["best"]
    if best is None:
        return StudyLine(row, document["trials"], None)
    trial = {"trial": best["trial"], "state": "done", "deployment": best["deployment"], "curve": []}
    point = {**best, "on_frontier": True, "rank": 1, "tied": False, "metrics": {}}
    return StudyLine(row, document["trials"], TrialPoint(_point(row.id, point), _trial(row.id, trial)))


def whole(document: Mapping[str, Any]) -> tuple[list[TrialRow], list[TrialPoint]]:
    """Returns the trials of an exported study, and the points of its frontier by rank."""
    study_id = document["study"]["id"]
    trials = [_trial(study_id, each) for each in document["trials"]]
    by_number = {trial.number: trial for trial in trials}
    front = [each for each in document["points"] if each["on_frontier"]]
    points = [TrialPoint(_point(study_id, each), by_number[each["trial"]]) for each in front]
    return trials, sorted(points, key=lambda found: found.point.rank or 0)


def _trial(study_id: str, document: Mapping[str, Any]) -> TrialRow:
    capacity = document.get("capacity_rps") or {}
    return TrialRow(
        id=document["trial"],
        study_id=study_id,
        number=document["trial"],
        key=str(document["trial"]),
        state=document["state"],
        reason=document.get("reason"),
        deployment=document["deployment"],
        kernel_digest=document.get("kernel_digest", ""),
        seed=document.get("seed", 0),
        fidelity=document.get("requests_per_run", 0),
        capacity_rps=capacity.get("value"),
        capacity_low_rps=capacity.get("low"),
        capacity_high_rps=capacity.get("high"),
        capacity_level=capacity.get("level"),
        saturated_rps=document.get("saturated_rps"),
        binding=document.get("binding"),
        bill=document.get("bill"),
        metrics=document.get("metrics"),
        curve=document["curve"],
        objectives=document.get("objectives", {}),
        memory=document.get("memory"),
        provenance=document.get("provenance", {}),
        created_at=_NEVER,
        updated_at=_NEVER,
    )


def _point(study_id: str, document: Mapping[str, Any]) -> PointRow:
    return PointRow(
        id=0,
        study_id=study_id,
        trial_id=document["trial"],
        rate_rps=document["rate_rps"],
        metrics=document["metrics"],
        objectives=document["objectives"],
        on_frontier=document["on_frontier"],
        rank=document["rank"],
        tied=document["tied"],
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
