"""The best under another Slo or at other prices, from the stored latency curves: nothing is simulated again.

A trial's curve holds its Metrics at about ten loads. Between two of them a latency is taken to grow exponentially with the
load, as it nearly does, so that a bound breaks where the straight line of its logarithm crosses the limit. The bound that
ended the study's own search is known there exactly, and enters as one more point. What the curve does not reach is not
guessed: an item then says that its capacity is at least, or less than, what was run.

Dollars follow exactly from the rent of the same fleet in the other price book.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from db.rows import StudyRow, TrialRow
from search import objectives
from search.curves import Curve, statistic
from search.frontier import pareto
from search.objectives import Interval, Objective, OperatingPoint
from simulator.errors import InputError
from simulator.spec.deployment import Resolved
from simulator.spec.metrics import Metrics
from simulator.spec.prices import Bill, PriceBook
from simulator.spec.slo import Slo

Document = dict[str, Any]


@dataclass(frozen=True)
class Terms:
    """What is asked for: the Slo, the price book (None: no dollars) and the objectives, in order; `own` is the study's Slo."""

    own: Slo
    slo: Slo
    book: PriceBook | None
    objectives: tuple[Objective, ...]


@dataclass(frozen=True)
class Quoted:
    """A trial under other terms: its operating points, its capacity as far as the curve tells, and what it does not tell."""

    trial: TrialRow
    points: tuple[OperatingPoint, ...]
    made: tuple[bool, ...]
    capacity: Interval | None
    binding: str | None
    bill: Bill | None
    outside: str | None


def terms_of(study: StudyRow, slo: Slo | None, book: PriceBook | None, names: Sequence[str] | None) -> Terms:
    """Returns the study's own terms with what is given in their place; raises InputError for an objective without prices."""
    own = Slo.parse(study.request["slo"])
    wanted = tuple(names or study.request["objectives"])
    found = tuple(objectives.load(name, f"objectives.{place}") for place, name in enumerate(wanted))
    for place, objective in enumerate(found):
        if objective.needs_prices and book is None:
            raise InputError("prices", None, f"a price book, since objectives.{place} ({objective.name}) needs one")
    classes = (study.request.get("workload") or {}).get("classes") or {}
    for name in (slo or own).class_names:
        if name not in classes:
            raise InputError(f"slo.{name}", name, f"a class of the study's workload: {', '.join(classes) or 'there is none'}")
    return Terms(own, slo or own, book, found)


def quote(trial: TrialRow, terms: Terms, *, sized: bool = False) -> Quoted:
    """Returns one trial under the terms; `sized`: it is a fleet for one load, and not a curve up to a capacity."""
    deployment = Resolved.parse(trial.deployment)
    bill = None
    if terms.book is not None:
        bill = terms.book.bill(deployment.device, deployment.gpus_per_replica, deployment.replicas)
        if bill is None:
            return Quoted(trial, (), (), None, None, None, f"the price book sells no instance that holds {deployment.device} so")
    curve = [(entry["rate_rps"], entry["metrics"]) for entry in trial.curve]
    if sized:
        return _sized(trial, curve[0], terms.slo, bill, deployment)
    root, binding, outside = Curve(curve, terms.own, trial.binding, trial.capacity_rps).end(terms.slo)
    if root is None:
        return Quoted(trial, (), (), None, binding, bill, outside)
    low, high = _relative(trial)
    capacity = Interval(root, root * low, root * high)
    loads = [(rate, metrics, False) for rate, metrics in curve if rate <= capacity.low * (1 + 1e-9)]
    if not loads or capacity.low > loads[-1][0] * (1 + 1e-9):
        loads.append((capacity.low, _between(curve, capacity.low), True))
    points = tuple(_point(trial, deployment, rate, metrics, terms, bill, capacity) for rate, metrics, _ in loads)
    return Quoted(trial, points, tuple(made for _, _, made in loads), capacity, binding, bill, outside)


def _sized(trial: TrialRow, at: tuple[float, Document], slo: Slo, bill: Bill | None, deployment: Resolved) -> Quoted:
    rate, metrics = at
    broken = [bound for bound in slo.bounds if statistic(metrics, bound, slo) > bound.limit_s]
    if broken:
        names = ", ".join(bound.name for bound in broken)
        reason = f"the fleet of {deployment.replicas} replicas breaks {names}; a larger one was not simulated"
        return Quoted(trial, (), (), None, broken[0].name, bill, reason)
    point = OperatingPoint(trial.number, rate, _priced(metrics, bill), deployment.gpus, None, bill.usd_per_hour if bill else None)
    return Quoted(trial, (point,), (False,), None, trial.binding, bill, None)


def _relative(trial: TrialRow) -> tuple[float, float]:
    """Returns the ends of the trial's interval as shares of its capacity."""
    value, low, high = trial.capacity_rps, trial.capacity_low_rps, trial.capacity_high_rps
    return (low / value, high / value) if value and low is not None and high is not None else (1.0, 1.0)


def _point(
    trial: TrialRow, deployment: Resolved, rate: float, metrics: Document, terms: Terms, bill: Bill | None, capacity: Interval
) -> OperatingPoint:
    usd = bill.usd_per_hour if bill else None
    return OperatingPoint(trial.number, rate, _priced(metrics, bill), deployment.gpus, capacity, usd)


def _priced(metrics: Document, bill: Bill | None) -> Metrics:
    """Returns stored metrics at another rent; goodput is of the study's own Slo and is left out."""
    usd = bill.usd_per_hour if bill else None
    output, total = metrics["output_token_throughput_tps"], metrics["total_token_throughput_tps"]
    classes = {name: {**one, "goodput_rps": None, "slo_met": None} for name, one in (metrics.get("classes") or {}).items()}
    return Metrics.parse(
        {
            **metrics,
            **({"classes": classes} if classes else {}),
            "goodput_rps": None,
            "slo_met": True,
            "usd_per_hour": usd,
            "usd_per_million_output_tokens": usd / 3600 / output * 1e6 if usd is not None and output else None,
            "usd_per_million_tokens": usd / 3600 / total * 1e6 if usd is not None and total else None,
        }
    )


def _between(curve: Sequence[tuple[float, Document]], rate: float) -> Document:
    """Returns the metrics at a rate between two that were run; those of the nearest one beyond either end."""
    rates = [each for each, _ in curve]
    place = bisect_left(rates, rate)
    if place == 0 or place == len(curve):
        return curve[min(place, len(curve) - 1)][1]
    share = (rate - rates[place - 1]) / (rates[place] - rates[place - 1])
    mixed: Document = _mixed(curve[place - 1][1], curve[place][1], share)
    return mixed


def _mixed(low: Any, high: Any, share: float) -> Any:
    """Returns what lies between two stored values: numbers of the same field in proportion, latencies by their logarithms."""
    if isinstance(low, Mapping) and isinstance(high, Mapping):
        return {name: _mixed(value, high.get(name), share) for name, value in low.items()}
    if isinstance(low, bool) or isinstance(high, bool) or not isinstance(low, int | float) or not isinstance(high, int | float):
        return low
    if isinstance(low, int) and isinstance(high, int):
        return round(low + share * (high - low))
    return float(low ** (1 - share) * high**share) if low > 0 and high > 0 else float(low + share * (high - low))


def frontier(quoted: Sequence[Quoted], wanted: Sequence[Objective]) -> list[tuple[Quoted, int]]:
    """Returns the points of the Pareto set, by the first objective."""
    pairs = [(place, index) for place in quoted for index in range(len(place.points))]
    rows = [[objective.value(place.points[index]) for objective in wanted] for place, index in pairs]
    if not pairs:
        return []
    values = np.array([[math.nan if number is None else number for number in row] for row in rows])
    member = pareto(values, [objective.direction for objective in wanted])
    signs = np.array([1.0 if objective.direction == "minimize" else -1.0 for objective in wanted])
    order = sorted(np.flatnonzero(member), key=lambda i: (*(signs * values[i]), pairs[i][0].trial.number))
    return [pairs[i] for i in order]
