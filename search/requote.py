"""The frontier document of a study under another Slo or at other prices, quoted from its stored curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from db.rows import StudyRow, TrialRow
from search import documents
from search.quoting import Quoted, Terms, frontier, quote, terms_of

__all__ = ["requote", "terms_of"]
Document = dict[str, Any]


def requote(study: StudyRow, trials: Sequence[TrialRow], terms: Terms) -> Document:
    """Returns the frontier document under other terms, with `outside`: which trials' curves do not reach far enough, and why."""
    done = [trial for trial in trials if trial.state == "done" and trial.curve]
    quoted = [quote(trial, terms, sized=study.request.get("demand") is not None) for trial in done]
    ranked = frontier(quoted, terms.objectives)
    fewest = max((trial.fidelity for trial in done), default=0)
    return {
        "study": documents.study(study),
        "slo": dict(terms.slo),
        "objectives": [{"name": o.name, "direction": o.direction, "unit": o.unit} for o in terms.objectives],
        "items": [_item(rank, place, index, terms) for rank, (place, index) in enumerate(ranked, start=1)],
        "outside": [
            {"trial": q.trial.number, "deployment": q.trial.deployment, "reason": q.outside}
            for q in quoted
            if q.outside is not None
        ],
        "notes": _notes(ranked, fewest),
        "next_cursor": None,
    }


def _item(rank: int, place: Quoted, index: int, terms: Terms) -> Document:
    point, capacity = place.points[index], place.capacity
    level = place.trial.capacity_level
    return {
        "trial": place.trial.number,
        "rank": rank,
        "tied": False,
        "deployment": place.trial.deployment,
        "rate_rps": point.rate_rps,
        "metrics": point.metrics.model_dump(mode="json"),
        "objectives": {objective.name: objective.value(point) for objective in terms.objectives},
        "capacity_rps": None if capacity is None else {**capacity._asdict(), "level": level},
        "binding": place.binding,
        "bill": None if place.bill is None else place.bill.model_dump(mode="json"),
        "interpolated": place.made[index],
        "outside": place.outside,
        "requests_per_run": place.trial.fidelity,
    }


def _notes(ranked: Sequence[tuple[Quoted, int]], most: int) -> list[str]:
    notes = []
    fewer = sorted({place.trial.number for place, _ in ranked if place.trial.fidelity < most})
    if fewer:
        numbers = ", ".join(map(str, fewer))
        notes.append(f"trials {numbers} were scored on fewer requests than others, since their first answers ruled them out")
    if any(place.made[index] for place, index in ranked):
        notes.append("points marked `interpolated` lie between two loads that were run")
    return notes
