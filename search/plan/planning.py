"""From a request to a plan: demand, deployments, the ways to rent them, busy hours simulated, what a budget buys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from db.session import Store, open_store
from search.plan import budget as budgets
from search.plan.check import busiest, check
from search.plan.cost import Way, told, ways
from search.plan.demand import Week, growth, week_of
from search.plan.document import Best, Candidate, Capable, DemandWeek, ForBudget, OptionName, Plan, Window
from search.plan.fleet import left
from search.plan.request import PlanRequest
from search.plan.sources import Terms, capable, rate_within, terms_of
from simulator import catalog
from simulator.errors import Infeasible, InputError
from simulator.spec.prices import PriceBook
from simulator.spec.slo import Slo

# A check adds units where an hour is missed; the fleet is then checked again, at most so often.
MOST_ROUNDS = 5
# Requests a second for which an hour is still simulated while somebody waits.
MOST_RPS = 100_000.0
Report = Callable[[str], None]
_WHAT_IF = {"demand", "fleet", "slo", "prices", "terms", "spot", "budget_usd_per_month"}


def plan(request: PlanRequest, store: Store | None = None, report: Report = lambda sentence: None) -> Plan:
    """Returns the plan; raises InputError for what cannot be planned, Infeasible where no deployment keeps the Slo.

    A study's deployments are read from the store; given ones are measured first. The cheapest plan is simulated in its busiest
    hours; where it needs more and so is the cheapest no longer, the next one is.
    """
    terms = terms_of(request, store)
    week, book = week_of(request.demand), catalog.price_book(terms.prices)
    report("capacities")
    deployments, refused = capable(request, terms, store)
    found = [_candidate(request, terms.slo, book, week, each) for each in deployments]
    if request.check.windows:
        found = _verified(request, terms, book, week, found, report)
    return _plan(request, terms.slo, terms.prices, week, book, found, (*terms.notes, *refused))


def stored(request: PlanRequest, db: str) -> Plan:
    """Returns the plan for a study of the store at `db`; raises as `plan` does."""
    with open_store(db) as store:
        return plan(request, store)


def check_rates(request: PlanRequest) -> None:
    """Raises InputError for a demand of which no hour can be simulated while somebody waits."""
    demand = request.demand
    given = [("demand.mean_rps", demand.mean_rps), ("demand.peak_rps", demand.peak_rps)]
    given += [(f"demand.forecast (hour {row.hour})", row.rate_rps) for row in demand.forecast or ()]
    for field, rate in given:
        if rate is not None and rate > MOST_RPS:
            raise InputError(field, rate, f"at most {MOST_RPS:,.0f}")


def document(request: PlanRequest, db: str) -> dict[str, Any]:
    """Returns the plan as a document, for a study from the store at `db`; for a process of its own."""
    found = plan(request) if request.study is None else stored(request, db)
    return found.model_dump(mode="json")


def what_if(before: Plan, changes: Mapping[str, Any]) -> Plan:
    """Returns the plan with other fields of the request, from the stored curves: nothing is simulated.

    `changes` are of demand, fleet, slo, prices, terms, spot and budget_usd_per_month; those of demand and fleet, and of what
    lies in them, are merged with what is there. Capacities stay as checks have left them.
    """
    for name in changes:
        if name not in _WHAT_IF:
            raise InputError(f"changes.{name}", changes[name], f"{', '.join(sorted(_WHAT_IF))}; anything else is a new plan")
    data = _merged(before.request.model_dump(mode="json"), changes)
    request = PlanRequest.parse(data)
    slo = request.slo or Slo(dict(before.slo))
    prices = request.prices or before.prices
    book, week = catalog.price_book(prices), week_of(request.demand)
    found = [_candidate(request, slo, book, week, each.deployment) for each in before.candidates]
    return _plan(request, slo, prices, week, book, found, ("from stored curves: nothing was simulated",))


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(old)
    for name, value in new.items():
        merge = isinstance(value, Mapping) and isinstance(old.get(name), Mapping) and name != "slo"
        both[name] = _merged(old[name], value) if merge else value
    return both


def _candidate(request: PlanRequest, slo: Slo, book: PriceBook, week: Week, deployment: Capable) -> Candidate:
    rate, binding, note = rate_within(deployment, slo)
    if rate is None:
        return Candidate(deployment=deployment, capacity_per_replica_rps=None, binding=binding, reason=note)
    found = _ways(request, book, deployment, week, rate)
    if not found:
        device, gpus = deployment.deployment["device"], deployment.gpus_per_replica
        reason = f"the price book sells no instance that holds {gpus} {device} on the terms that may be paid"
        return Candidate(deployment=deployment, capacity_per_replica_rps=rate, binding=binding, reason=reason)
    static = next((way.usd_per_week for way in found if way.name == "static_on_demand"), None)
    options = tuple(told(way, week.rate_rps, static) for way in found)
    notes = () if note is None else (note,)
    return Candidate(deployment=deployment, capacity_per_replica_rps=rate, binding=binding, options=options, notes=notes)


def _ways(request: PlanRequest, book: PriceBook, deployment: Capable, week: Week, rate: float, times: float = 1.0) -> list[Way]:
    return ways(request, book, deployment.deployment["device"], deployment.gpus_per_replica, week.rate_rps * times, rate)


def _cost(candidate: Candidate) -> float:
    return min((option.usd_per_week for option in candidate.options), default=np.inf)


def _verified(
    request: PlanRequest, terms: Terms, book: PriceBook, week: Week, found: Sequence[Candidate], report: Report
) -> list[Candidate]:
    """Returns the candidates, the cheapest of which has been simulated: what others would need is no less than what they cost."""
    done = list(found)
    while True:
        place = min(range(len(done)), key=lambda each: _cost(done[each]))
        if not done[place].options or done[place].checked:
            return done
        report(f"busy hours of {done[place].deployment.name}")
        done[place] = _checked(request, terms, book, week, done[place])


def _checked(request: PlanRequest, terms: Terms, book: PriceBook, week: Week, candidate: Candidate) -> Candidate:
    """Returns a candidate whose busiest hours keep the Slo, with the replicas that this took; a reason where they do not."""
    prepared = terms.prepared(candidate.deployment.deployment)
    seen: dict[tuple[int, int], Window] = {}
    added: list[str] = []
    for _ in range(MOST_ROUNDS):
        option = candidate.options[0]
        serving = np.array(
            [left(n // option.replicas_per_unit, request.fleet, option.replicas_per_unit) for n in option.replicas_by_hour]
        )
        missed = None
        for hour in busiest(week, serving, request.check.windows):
            key = (hour, int(serving[hour]))
            if key not in seen:
                result = check(request, terms, prepared, week, hour, int(serving[hour]), option.replicas_per_unit)
                seen[key] = result.window
                if not result.window.kept:
                    missed = result
                    break
        if missed is None:
            return candidate.model_copy(update={"checked": tuple(seen.values()), "added": tuple(added)})
        window = missed.window
        if missed.fewest is None:
            reason = f"{window.label}: {_miss(window)} on {window.replicas} replicas, and on twice as many"
            return candidate.model_copy(update={"options": (), "checked": tuple(seen.values()), "reason": reason})
        added.append(f"{window.label}: {_miss(window)} on {window.replicas} replicas; {missed.fewest} keep it")
        candidate = _lowered(request, terms, book, week, candidate, window.rate_rps * (1 + request.fleet.headroom) / missed.fewest)
    reason = f"the SLO was missed in one busy hour after another, {MOST_ROUNDS} times"
    return candidate.model_copy(update={"options": (), "checked": tuple(seen.values()), "added": tuple(added), "reason": reason})


def _lowered(
    request: PlanRequest, terms: Terms, book: PriceBook, week: Week, candidate: Candidate, per_replica: float
) -> Candidate:
    """Returns the candidate with no more capacity a replica than a simulated hour has left it."""
    assert candidate.capacity_per_replica_rps is not None, "it has options"
    share = candidate.deployment.checked_share * min(per_replica / candidate.capacity_per_replica_rps, 1.0)
    return _candidate(request, terms.slo, book, week, candidate.deployment.model_copy(update={"checked_share": share}))


def _miss(window: Window) -> str:
    """Returns by how much a window broke the Slo: the worst bound."""

    def over(ratio: tuple[float | None, float | None]) -> float:
        value, limit = ratio
        return np.inf if value is None or limit is None else value / limit

    worst = max(window.bounds, key=lambda each: over((each.value_s, each.limit_s)))
    if worst.limit_s is None:
        return "the backlog grows"
    value = "not kept, since requests were lost" if worst.value_s is None else f"{worst.value_s:.3g} s"
    return f"{worst.bound} {value} (limit {worst.limit_s:g} s)"


def _plan(
    request: PlanRequest, slo: Slo, prices: str, week: Week, book: PriceBook, found: Sequence[Candidate], notes: Sequence[str]
) -> Plan:
    ordered = sorted(found, key=lambda each: (_cost(each), each.deployment.name))
    best = _best(ordered)
    if best is None:
        raise Infeasible(f"{ordered[0].deployment.name}: {ordered[0].reason}")
    hour = int(np.argmax(week.rate_rps))
    mean, peak = float(week.rate_rps.mean()), float(week.rate_rps.max())
    return Plan(
        request=request,
        slo=dict(slo),
        prices=prices,
        demand=DemandWeek(
            rate_rps=tuple(week.rate_rps.tolist()),
            now_rps=tuple(week.now_rps.tolist()),
            mean_rps=mean,
            peak_rps=peak,
            mean_over_peak=mean / peak,
            busiest_hour=hour,
            busiest=week.label(hour),
            labels=tuple(week.label(each) for each in range(len(week.rate_rps))),
            growth=growth(request.demand),
            source=week.source,
            notes=week.notes,
        ),
        candidates=tuple(ordered),
        best=best,
        budget=_budget(request, slo, book, week, ordered),
        notes=tuple(notes),
    )


def _best(ordered: Sequence[Candidate]) -> Best | None:
    first = ordered[0]
    if not first.options:
        return None
    option = first.options[0]
    static = next((each.usd_per_week for each in first.options if each.name == "static_on_demand"), None)
    return Best(
        candidate=0,
        option=0,
        name=first.deployment.name,
        option_name=option.name,
        usd_per_week=option.usd_per_week,
        usd_per_month=option.usd_per_month,
        saved_usd_per_week=None if static is None else static - option.usd_per_week,
        saved_share=None if static is None else 1 - option.usd_per_week / static,
    )


def _budget(request: PlanRequest, slo: Slo, book: PriceBook, week: Week, found: Sequence[Candidate]) -> ForBudget | None:
    if request.budget_usd_per_month is None:
        return None

    def cost(times: float, wanted: Slo) -> tuple[float, int | None, OptionName | None]:
        best: tuple[float, int | None, OptionName | None] = (np.inf, None, None)
        for place, each in enumerate(found):
            rate, _, _ = rate_within(each.deployment, wanted)
            cheapest = _ways(request, book, each.deployment, week, rate, times)[:1] if rate is not None and each.options else []
            for way in cheapest:
                if way.usd_per_week < best[0]:
                    best = (way.usd_per_week, place, way.name)
        return best

    mean, peak = float(week.rate_rps.mean()), float(week.rate_rps.max())
    return budgets.for_budget(request.budget_usd_per_month, cost, slo, mean, peak)
