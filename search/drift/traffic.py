"""The two sides: requests as a study's workload gives them, and those of a newer trace."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from search.request import SearchRequest
from simulator.draw import draw
from simulator.draw.recorded import load
from simulator.errors import InputError
from simulator.spec.workload import RequestClass, Workload
from simulator.traffic import Traffic

FIELD = "trace"
FEWEST = 100
# Of a workload that can be drawn without end: enough to be known better than a trace, few enough to take no time.
LEAST_DRAWN, MOST_DRAWN = 20_000, 200_000
# What a class keeps beside a trace, whose rows say the rest.
OF_CLASS = ("priority", "deadline_s", "cancellation")
KEPT = ("priority", "deadline_s", "cancellation")


@dataclass(frozen=True)
class Side:
    """Requests with what is known of them: their rate (None where nothing says it), and whether arrival times mean anything.

    `timed` is false where arrivals are nobody's: of a trace without a clock, of turns that follow answers. `recorded`
    where the requests are rows of a trace.
    """

    traffic: Traffic
    rate_rps: float | None
    timed: bool
    recorded: bool
    notes: tuple[str, ...] = ()


def of_study(request: SearchRequest, like: Side, seed: int) -> Side:
    """Returns the study's traffic: all rows of its trace, else as many drawn requests as the trace has, at its rate.

    A recorded rate is that of its trace, also where a demand asks for another. Drawn traffic has the rate of the demand;
    without one it has none and is put to that of the trace, so that bursts can be compared.
    """
    workload, demand = request.workload, None if request.demand is None else request.demand.rate_rps
    if workload.trace is not None:
        return of_trace(workload, workload.trace, None, seed, "workload.trace")
    count = min(max(len(like.traffic), LEAST_DRAWN), MOST_DRAWN)
    drawn = draw(workload, count, seed, stratified=False)
    timed = workload.users is None and bool((drawn.after < 0).all())
    rate = demand or like.rate_rps or 1.0
    return Side(replace(drawn, arrival_s=drawn.at(rate), rate_rps=rate), demand, timed, recorded=False, notes=drawn.notes)


def of_trace(workload: Workload, trace: str, rate_rps: float | None, seed: int, field: str = FIELD) -> Side:
    """Returns all rows of a workload's trace on their own clock, put to `rate_rps` where that is given.

    Raises InputError under `field` for a trace that cannot be read or has fewer than FEWEST requests.
    """
    try:
        timed = load(trace).arrival_s is not None
        # Only for a trace without a clock does the rate of the draw matter: it is put to another below.
        asked = workload if timed else workload.model_copy(update={"rate_rps": 1.0})
        drawn = draw(asked, None, seed, stratified=False)
    except InputError as error:
        raise InputError(error.field.replace("workload.trace", field, 1), error.value, error.allowed) from None
    if len(drawn) < FEWEST:
        raise InputError(field, f"{len(drawn)} requests", f"a trace with {FEWEST} or more, since fewer tell nothing of tails")
    if timed and drawn.arrival_s[-1] <= drawn.arrival_s[0]:
        raise InputError(field, f"{len(drawn)} requests at once", "a trace whose requests do not all arrive at the same time")
    if workload.arrival is not None and workload.arrival.process != "replay":
        timed = False
    if rate_rps is not None:
        drawn = replace(drawn, arrival_s=drawn.at(rate_rps), rate_rps=rate_rps)
    return Side(drawn, drawn.rate_rps if timed or rate_rps is not None else None, timed, recorded=True, notes=drawn.notes)


def with_trace(workload: Workload, trace: str) -> Workload:
    """Returns the study's workload with the trace in the place of its requests: deadlines, users' patience and priorities stay.

    Raises InputError under `trace` where the file cannot be read.
    """
    try:
        names = load(trace).class_names
    except InputError as error:
        raise InputError(error.field.replace("workload.trace", FIELD, 1), error.value, error.allowed) from None
    kept: dict[str, Any] = {name: getattr(workload, name) for name in KEPT}
    classes = {
        name: RequestClass(**{field: getattr(each, field) for field in OF_CLASS})
        for name, each in (workload.classes or {}).items()
        if name in names
    }
    return Workload(trace=trace, classes=classes or None, **kept)
