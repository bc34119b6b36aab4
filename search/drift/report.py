"""The drift report: a stored study beside a newer trace."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from db import queries
from db.rows import StudyRow, TrialPoint, TrialRow
from db.session import Store, open_store
from search import uploads
from search.drift.compare import TOLERANCE, compare
from search.drift.document import Change, Drift
from search.drift.standing import standing
from search.drift.traffic import FIELD, Side, of_study, of_trace, with_trace
from search.fidelity import FINAL
from search.request import SearchRequest
from simulator.errors import InputError
from simulator.spec.workload import Workload

# What drifted, in words, by the group of its numbers.
WORDS = {
    "prompt_tokens": "prompt lengths",
    "output_tokens": "output lengths",
    "rate": "request rate",
    "burst": "burstiness",
    "prefix_reuse": "prefix reuse",
    "classes": "shares of classes",
}


@dataclass(frozen=True)
class Asked:
    """What a report is about: the study, the trial (None: the winner), the trace, its rate and the replicas where stated."""

    trace: str
    trial: int | None = None
    rate_rps: float | None = None
    replicas: int | None = None
    tolerance: float = TOLERANCE
    seed: int = 0


@dataclass(frozen=True)
class Subject:
    """A stored study as a report needs it, and the workload with the trace in it."""

    study: StudyRow
    request: SearchRequest
    trial: TrialRow
    point: TrialPoint | None
    workload: Workload


def subject(store: Store, study: str, asked: Asked) -> Subject:
    """Returns what is stored of a study and of the trial in question; raises InputError where there is no such answer."""
    row = queries.study(store, study)
    request = SearchRequest.parse(row.request, "study")
    if request.workload.users is not None:
        allowed = "a study of an open loop: users who wait for their answers have no rate and no arrivals to compare"
        raise InputError("study.workload.users", request.workload.users, allowed)
    uploads.fetch(store, request.workload)
    try:
        uploads.fetch(store, Workload(trace=asked.trace))
    except InputError as error:
        raise InputError(FIELD, error.value, error.allowed) from None
    workload = with_trace(request.workload, asked.trace)
    trial, point = _trial(store, row, asked.trial)
    return Subject(row, request, trial, point, workload)


def _trial(store: Store, study: StudyRow, number: int | None) -> tuple[TrialRow, TrialPoint | None]:
    if number is None:
        ranked = queries.frontier(store, study.id)
        if not ranked:
            raise InputError("trial", None, f"a trial with an answer, since the study has no winner (it is {study.state})")
        return ranked[0].trial, ranked[0]
    trial = queries.trial(store, study.id, number)
    if trial.state != "done":
        raise InputError("trial", number, f"a trial with an answer ({trial.reason or trial.state})")
    return trial, next((each for each in queries.points(store, study.id) if each.trial.id == trial.id), None)


def drift(about: Subject, asked: Asked) -> Drift:
    """Returns the report without a new search; raises InputError for a trace that cannot stand for the study's traffic."""
    request = about.request
    trace = of_trace(about.workload, asked.trace, asked.rate_rps, asked.seed)
    if trace.rate_rps is None and request.demand is None:
        raise InputError("rate_rps", None, "the requests a second of the traffic, since neither the trace nor the study has any")
    _check_classes(request, trace)
    study = of_study(request, trace, asked.seed)
    changes = compare(study, trace, int(about.trial.deployment["block_size"]), asked.seed, asked.tolerance)
    stands = standing(request, about.trial, about.point, about.workload, (study, trace), FINAL, asked.replicas, asked.seed)
    return Drift(
        study={"id": about.study.id, "name": about.study.name, **_told(study)},
        trace={"trace": asked.trace, **_told(trace)},
        changes=tuple(changes),
        drifted=tuple(drifted(changes)),
        standing=stands,
        search=None,
        notes=tuple(_notes(study, trace, changes)),
    )


def document(db: str, study: str, asked: Asked) -> dict[str, Any]:
    """Returns the report on a study of the store at `db` as a document; for a process of its own."""
    with open_store(db) as store:
        about = subject(store, study, asked)
    return asdict(drift(about, asked))


def drifted(changes: list[Change]) -> list[str]:
    """Returns what changed by more than sampling explains, in words and in the order of the report."""
    groups = dict.fromkeys(change.group for change in changes if change.beyond)
    return [WORDS[group] for group in groups]


def _check_classes(request: SearchRequest, trace: Side) -> None:
    """Raises InputError for a trace without the classes that the study's Slo bounds."""
    asked = request.slo.class_names
    missing = [name for name in asked if name not in trace.traffic.class_names]
    if asked and len(missing) == len(asked):
        have = ", ".join(trace.traffic.class_names)
        raise InputError(f"{FIELD} (column class)", have, f"classes that the study's SLO bounds: {', '.join(asked)}")


def _told(side: Side) -> dict[str, Any]:
    clock = side.traffic.arrival_s
    return {
        "requests": len(side.traffic),
        "recorded": side.recorded,
        "rate_rps": side.rate_rps,
        "span_s": float(clock[-1] - clock[0]) if side.timed else None,
        "notes": list(side.notes),
    }


def _notes(study: Side, trace: Side, changes: list[Change]) -> list[str]:
    """Returns what could not be compared, and why."""
    notes = []
    have = {change.group: change for change in changes if change.beyond is not None}
    if "rate" not in have:
        lacking = "the study states no rate" if study.rate_rps is None else "the trace has no arrival times"
        notes.append(f"request rates are not compared: {lacking}")
    if "burst" not in have:
        lacking = (
            "the trace has no arrival times" if not trace.timed else "the study's arrivals follow answers or were not recorded"
        )
        notes.append(f"burstiness is not compared: {lacking}")
    both = [side.traffic.content is not None for side in (study, trace)]
    if any(both) and not all(both):
        whose = "the trace" if both[0] else "the study's traffic"
        notes.append(f"prefix reuse is not compared: {whose} does not say what its prompts have in common")
    return notes
