"""Two studies side by side: what was asked differently, what is best on each objective, and the deployments of both frontiers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from db.rows import StudyRow, TrialPoint
from search import documents, objectives

Document = dict[str, Any]
Side = tuple[StudyRow, Sequence[TrialPoint]]


def compare(left: Side, right: Side) -> Document:
    """Returns both studies, `changed` fields of their requests, the best of `objectives`, and `deployments` of the frontiers."""
    names = dict.fromkeys([*left[0].request.get("objectives", ()), *right[0].request.get("objectives", ())])
    return {
        "studies": [documents.study(left[0]), documents.study(right[0])],
        "changed": changed(left[0].request, right[0].request),
        "objectives": [_objective(name, left[1], right[1]) for name in names],
        "deployments": _deployments(left[1], right[1]),
    }


def changed(left: object, right: object, field: str = "") -> list[Document]:
    """Returns the fields in which two requests differ, each with both values; None stands for one that is not there."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        names = dict.fromkeys([*left, *right])
        return [each for name in names for each in changed(left.get(name), right.get(name), f"{field}.{name}".lstrip("."))]
    return [] if left == right else [{"field": field, "values": [left, right]}]


def _objective(name: str, left: Sequence[TrialPoint], right: Sequence[TrialPoint]) -> Document:
    objective = objectives.load(name)
    best = [_best(name, objective.direction, side) for side in (left, right)]
    before, after = (None if each is None else each["value"] for each in best)
    change = after / before - 1 if before and after is not None else None
    return {"name": name, "direction": objective.direction, "unit": objective.unit, "best": best, "change": change}


def _best(name: str, direction: objectives.Direction, side: Sequence[TrialPoint]) -> Document | None:
    sign = 1 if direction == "minimize" else -1
    known = [(found.point.objectives.get(name), found) for found in side]
    valued = [(value, found) for value, found in known if value is not None]
    if not valued:
        return None
    value, found = min(valued, key=lambda pair: (sign * pair[0], pair[1].trial.number))
    return {"value": value, "trial": found.trial.number, "rate_rps": found.point.rate_rps}


def _deployments(left: Sequence[TrialPoint], right: Sequence[TrialPoint]) -> list[Document]:
    """Returns each deployment on either frontier once, with its best place in both; those on both come first."""
    sides = [_by_deployment(side) for side in (left, right)]
    keys = sorted({*sides[0], *sides[1]}, key=lambda key: (key not in sides[0] or key not in sides[1], _place(sides, key)))
    found = []
    for key in keys:
        at = [side.get(key) for side in sides]
        deployment = next(each.trial.deployment for each in at if each is not None)
        found.append({"deployment": deployment, "places": [None if each is None else _place_of(each) for each in at]})
    return found


def _by_deployment(side: Sequence[TrialPoint]) -> dict[str, TrialPoint]:
    first: dict[str, TrialPoint] = {}
    for found in side:
        first.setdefault(json.dumps(found.trial.deployment, sort_keys=True), found)
    return first


def _place(sides: Sequence[Mapping[str, TrialPoint]], key: str) -> tuple[int, int]:
    ranks = [(side[key].point.rank or 0, place) for place, side in enumerate(sides) if key in side]
    return min(ranks)


def _place_of(found: TrialPoint) -> Document:
    return {
        "trial": found.trial.number,
        "rank": found.point.rank,
        "rate_rps": found.point.rate_rps,
        "objectives": found.point.objectives,
        "capacity_rps": documents.capacity(found.trial),
    }
