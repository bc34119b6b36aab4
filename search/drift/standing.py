"""Whether the answer stands: the study's deployment simulated again, on the newer requests."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from db.rows import TrialPoint, TrialRow
from search.capacity import measure_capacity
from search.drift.document import Interval, Limit, Load, Standing, Stored
from search.drift.fleet import Fleet
from search.drift.traffic import Side
from search.fidelity import Fidelity
from search.request import SearchRequest
from simulator.cli import digits, seconds
from simulator.correction import corrected
from simulator.errors import Infeasible
from simulator.run import Prepared, prepare
from simulator.spec.deployment import Resolved
from simulator.spec.workload import Workload


def standing(
    request: SearchRequest,
    trial: TrialRow,
    point: TrialPoint | None,
    workload: Workload,
    sides: tuple[Side, Side],
    fidelity: Fidelity,
    replicas: int | None,
    seed: int,
) -> Standing:
    """Returns whether a trial's fleet keeps the Slo under the trace at its own rate and at the study's demand.

    `sides` are the study's and the trace's traffic; `replicas` is how many run, None for as many as the study's answer has.
    """
    study, trace = sides
    deployment = Resolved.parse(trial.deployment)
    prepared = corrected(prepare(deployment, request.profiles), request.correction)
    before = None if point is None else _stored(trial, point)
    now = _limit(request, prepared, workload, fidelity, seed)
    count, notes = _replicas(request, trial, study.rate_rps, trace.rate_rps, replicas)
    per_replica = now.capacity_rps.value / now.replicas if now.capacity_rps else None
    fleet = Fleet(request, prepared, workload, per_replica, seed)
    loads = tuple(fleet.at(name, rate, count) for name, rate in _rates(request, trace))
    bill = fleet.bill(count)
    return Standing(
        trial=trial.number,
        deployment=trial.deployment,
        replicas=count,
        usd_per_hour=bill.usd_per_hour if bill else None,
        stands=all(load.kept for load in loads),
        verdict=_verdict(loads),
        loads=loads,
        limit=now,
        stored=before,
        notes=(*notes, *_brink(loads, now)),
    )


def _rates(request: SearchRequest, trace: Side) -> Iterator[tuple[str, float]]:
    if trace.rate_rps is not None:
        yield "trace", trace.rate_rps
    if request.demand is not None:
        yield "demand", request.demand.rate_rps


def _replicas(
    request: SearchRequest, trial: TrialRow, was_rps: float | None, is_rps: float | None, stated: int | None
) -> tuple[int, list[str]]:
    """Returns how many replicas the study's answer has: those that a demand was given, else what its capacity takes."""
    own = int(trial.deployment["replicas"])
    if stated is not None or request.demand is not None:
        return stated or own, []
    rate, safe = was_rps or is_rps, trial.capacity_low_rps or trial.capacity_rps
    if rate is None or not safe:
        return own, []
    count = own * max(math.ceil(rate / safe), 1)
    whose = "its own traffic" if was_rps is not None else "the trace, since the study states no rate"
    took = f"its capacity of {digits(safe)} req/s takes {count} replica{'s' if count > 1 else ''} for {whose}"
    return count, [f"the study sized no fleet: {took} ({digits(rate)} req/s); state how many run where it is another number"]


def _limit(request: SearchRequest, prepared: Prepared, workload: Workload, fidelity: Fidelity, seed: int) -> Limit:
    """Returns the capacity of the trial's own replicas on the new requests, with the cost at it."""
    deployment = prepared.deployment
    book = request.price_book
    bill = book.bill(deployment.device, deployment.gpus_per_replica, deployment.replicas) if book else None
    try:
        found = measure_capacity(prepared, workload, request.slo, fidelity, seed, bill, fractions=())
    except Infeasible as reason:
        return Limit(deployment.replicas, None, None, None, None, str(reason))
    rate = found.rate_rps
    at_safe = next(metrics for at, metrics in found.runs if at == found.safe_rps)
    cost = at_safe.usd_per_million_output_tokens
    interval = Interval(rate.value, rate.low, rate.high)
    return Limit(deployment.replicas, interval, rate.level, found.binding, _cost(cost, found.safe_rps, interval))


def _cost(usd: float | None, at_rps: float, capacity: Interval) -> Interval | None:
    """Returns a cost that is known at one rate as it is at the capacity: dollars an hour are fixed, tokens are not."""
    if usd is None:
        return None
    return Interval(*(usd * at_rps / rate for rate in (capacity.value, capacity.high, capacity.low)))


def _stored(trial: TrialRow, point: TrialPoint) -> Stored:
    rate, metrics = point.point.rate_rps, point.point.metrics
    replicas, cost = int(trial.deployment["replicas"]), metrics.get("usd_per_million_output_tokens")
    value, low, high = trial.capacity_rps, trial.capacity_low_rps, trial.capacity_high_rps
    limit = Limit(replicas, None, None, trial.binding, None, "a fleet that is sized for a demand has no capacity stored")
    if value is not None:
        interval = Interval(value, value if low is None else low, value if high is None else high)
        limit = replace(
            limit,
            capacity_rps=interval,
            level=trial.capacity_level,
            usd_per_million_output_tokens=_cost(cost, rate, interval),
            reason=None,
        )
    return Stored(rate, metrics, limit)


def _brink(loads: tuple[Load, ...], limit: Limit) -> Iterator[str]:
    """Yields of which fleets, those that run and those that are needed, a load is not clearly below the capacity."""
    if limit.capacity_rps is None:
        return
    for load in loads:
        for replicas in dict.fromkeys((load.replicas, load.needed)):
            if replicas is None:
                continue
            times = replicas / limit.replicas
            low, high = times * limit.capacity_rps.low, times * limit.capacity_rps.high
            lies = f"{digits(load.rate_rps)} req/s of the {load.name} lie"
            fleet = f"{replicas} replica{'s' if replicas > 1 else ''}"
            whose = f"the interval of the capacity of {fleet}, {digits(low)} to {digits(high)} req/s"
            if low <= load.rate_rps <= high:
                yield f"{lies} inside {whose}: another sample may say otherwise"
            elif load.rate_rps > high and (load.kept or replicas != load.replicas):
                yield f"{lies} above {whose}: the SLO is kept for these requests, and may not be for longer"


def _verdict(loads: tuple[Load, ...]) -> str:
    """Returns the verdict in a line."""
    if all(load.kept for load in loads):
        rates = " and ".join(f"{digits(load.rate_rps)} req/s of the {load.name}" for load in loads)
        return f"stands: the SLO is kept at {rates} on {loads[0].replicas} replica{'s' if loads[0].replicas > 1 else ''}"
    told = "; ".join(_broken(load) for load in loads if not load.kept)
    needed = [load.needed for load in loads]
    if any(each is None for each in needed):
        return f"no longer meets {told}; {next(load.reason for load in loads if load.needed is None)}"
    most = max(each for each in needed if each is not None)
    return f"no longer meets {told}; {most} replica{'s' if most > 1 else ''} would, {loads[0].replicas} run"


def _broken(load: Load) -> str:
    bounds = [
        f"{each.bound} ({'unserved requests' if each.value_s is None else seconds(each.value_s)}, at most {seconds(each.limit_s)})"
        for each in load.bounds
        if not each.kept
    ]
    if load.backlog_grows:
        bounds.append("the rate itself (the backlog grows)")
    return f"{', '.join(bounds)} at {digits(load.rate_rps)} req/s of the {load.name}"
