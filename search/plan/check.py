"""The busiest hours simulated at their own traffic, with the replicas that are left after the loss that the fleet survives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.breaking import check as break_off
from search.capacity import traffic_for
from search.fidelity import MINIMUM_REQUESTS, MOST_REQUESTS
from search.plan.demand import HOUR_S, Week, busiest_rows
from search.plan.document import Missed, Window
from search.plan.request import PlanRequest
from search.plan.sources import Terms
from search.probe import terms_of
from search.root import BACKLOG, holds
from simulator.draw import draw
from simulator.measure.verdict import Verdict
from simulator.run import Prepared, simulate
from simulator.spec.workload import Workload
from simulator.traffic import Traffic

# A fleet that would need more than so many times its replicas is not what its capacity was measured for.
MOST_TIMES = 2


@dataclass(frozen=True)
class Checked:
    """An hour as simulated, and the fewest replicas that keep it, whole units at a time; None where twice as many do not."""

    window: Window
    fewest: int | None


def busiest(week: Week, serving: NDArray[np.int64], count: int) -> list[int]:
    """Returns `count` hours: the one with the most demand, then those whose replicas (serving[168]) have the most to do.

    Hours of the same rate on the same replicas are one.
    """
    order = sorted(range(len(serving)), key=lambda hour: -week.rate_rps[hour] / serving[hour])
    chosen: dict[tuple[float, int], int] = {}
    for hour in (int(np.argmax(week.rate_rps)), *order):
        if len(chosen) < count:
            chosen.setdefault((float(week.rate_rps[hour]), int(serving[hour])), hour)
    return list(chosen.values())


def check(request: PlanRequest, terms: Terms, prepared: Prepared, week: Week, hour: int, replicas: int, step: int) -> Checked:
    """Returns how an hour goes on so many replicas and, where it breaks the Slo, how many more units of `step` it takes."""
    rate = float(week.rate_rps[hour])
    traffic, told = traffic_of(request, terms.workload, hour, rate)

    def run(count: int) -> tuple[bool, tuple[Missed, ...]]:
        break_off()
        outcome = simulate(prepared, traffic, rate, count)
        verdict, over = Verdict(outcome, terms.slo), terms_of(outcome, terms.slo)
        values = ((bound.name, bound.limit_s, verdict.value(bound)) for bound in terms.slo.bounds)
        bounds = [Missed(bound=name, limit_s=limit, value_s=_finite(value)) for name, limit, value in values]
        if over[BACKLOG] > 0:
            bounds.append(Missed(bound=BACKLOG, limit_s=None, value_s=None))
        return holds(over), tuple(bounds)

    kept, bounds = run(replicas)
    window = Window(
        hour=hour,
        label=week.label(hour),
        rate_rps=rate,
        replicas=replicas,
        requests=len(traffic),
        kept=kept,
        bounds=bounds,
        traffic=told,
    )
    return Checked(window, replicas if kept else _fewest(lambda count: run(count)[0], replicas, step))


def traffic_of(request: PlanRequest, workload: Workload, hour: int, rate: float) -> tuple[Traffic, str]:
    """Returns the requests of an hour of the week, and what they are: those of the trace, or an hour's worth of the workload."""
    trace = request.demand.trace
    if trace is not None:
        first, last, start_s = busiest_rows(trace, hour)
        if last - first > 1:
            rows = draw(Workload(trace=trace), None, request.seed)
            hour_of = rows.between(first, last, float(rows.arrival_s[0]) + start_s, HOUR_S)
            return hour_of, "the trace's own requests of its fullest such hour, their clock scaled to the rate"
    whole = math.ceil(rate * HOUR_S)
    count = min(max(whole, MINIMUM_REQUESTS), MOST_REQUESTS)
    worth = "an hour's requests" if count == whole else f"{count:,} requests"
    return traffic_for(workload, count, request.seed + hour), f"{worth} of the workload at the hour's rate"


def _fewest(keeps: Callable[[int], bool], replicas: int, step: int) -> int | None:
    """Returns the fewest replicas beyond `replicas`, in steps, that keep the Slo."""
    most = max(math.ceil((MOST_TIMES - 1) * replicas / step), 1)
    bad, good = 0, 1
    while not keeps(replicas + good * step):
        if good == most:
            return None
        bad, good = good, min(2 * good, most)
    while good - bad > 1:
        middle = (bad + good) // 2
        bad, good = (bad, middle) if keeps(replicas + middle * step) else (middle, good)
    return replicas + good * step


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
