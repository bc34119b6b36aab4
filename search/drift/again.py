"""The study's request searched again with the trace as its workload: does another deployment win now, and by how much?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from db import queries
from db.rows import StudyRow, TrialPoint, TrialRow
from db.session import open_store
from search import objectives, service
from search.check import check
from search.drift.document import Again
from search.progress import Progress
from search.request import SearchRequest
from simulator import label
from simulator.cli import digits
from simulator.errors import Infeasible
from simulator.spec.workload import Workload


def default_name(study: StudyRow) -> str:
    """Returns the name that a new search gets: that of the study, `drift`, and today's date (UTC)."""
    return f"{study.name[:180]}-drift-{datetime.now(UTC):%Y-%m-%d}"


def request_again(request: SearchRequest, workload: Workload, rate_rps: float | None, name: str) -> SearchRequest:
    """Returns the request for the trace; what it demanded is raised to the rate of the trace where that is more."""
    fields = {**request.model_dump(), "name": name, "workload": workload.model_dump()}
    if request.demand is not None:
        fields["demand"] = {"rate_rps": max(request.demand.rate_rps, rate_rps or 0.0)}
    found = SearchRequest.parse(fields)
    check(found)
    return found


def search_again(
    request: SearchRequest,
    chosen: TrialRow,
    db: str,
    executor: str = "auto",
    report: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> Again:
    """Returns what a search with the trace finds, stored in `db`, beside the deployment that was chosen."""
    demand = None if request.demand is None else request.demand.rate_rps
    name = request.objectives[0]
    try:
        study = service.run_search(request, db=db, executor=executor, report=report, stop=stop)
    except Infeasible as reason:
        return Again(None, request.name, demand, name, None, None, None, None, None, None, f"nothing wins: {reason}")
    with open_store(db) as store:
        points = queries.points(store, study)
    winner = next(each for each in points if each.point.rank == 1)
    same = _best(points, chosen.key, name)
    value, before = (None if each is None else each.point.objectives[name] for each in (winner, same))
    tied = same is not None and same.point.tied and winner.point.tied
    return Again(
        study=study,
        name=request.name,
        demand_rps=demand,
        objective=name,
        trial=winner.trial.number,
        deployment=winner.trial.deployment,
        value=value,
        chosen_value=before,
        wins=winner.trial.key != chosen.key and not tied,
        better_by=_better(name, before, value),
        sentence=_sentence(name, winner, chosen, before, tied=tied),
    )


def _better(objective: str, before: float | None, now: float | None) -> float | None:
    """Returns by how much the winner is better, as a share of what the chosen deployment has."""
    if not before or now is None:
        return None
    moved = now / before - 1
    return -moved if objectives.load(objective).direction == "minimize" else moved


def _sentence(objective: str, winner: TrialPoint, chosen: TrialRow, before: float | None, *, tied: bool) -> str:
    value = winner.point.objectives[objective]
    told = f"{' '.join(label.in_short(winner.trial.deployment))} with {objective} {digits(value)}"
    if winner.trial.key == chosen.key:
        return f"the same deployment wins: {told}"
    if before is None:
        return f"another deployment wins: {told}; the chosen one has no answer any more"
    share = _better(objective, before, value)
    beside = f"beside {digits(before)} of the chosen one" + ("" if share is None else f", {100 * share:.1f} % better")
    return f"the chosen deployment is tied with {told} ({beside})" if tied else f"another deployment wins: {told}, {beside}"


def _best(points: list[TrialPoint], key: str, objective: str) -> TrialPoint | None:
    sign = 1 if objectives.load(objective).direction == "minimize" else -1
    own = [each for each in points if each.trial.key == key and each.point.objectives.get(objective) is not None]
    return min(own, key=lambda each: sign * each.point.objectives[objective], default=None)
