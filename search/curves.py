"""Where a stored latency curve ends under an Slo: nothing is simulated again.

A curve holds Metrics at about ten loads. Between two of them a latency is taken to grow exponentially with the load, as it
nearly does, so that a bound breaks where the straight line of its logarithm crosses the limit. The bound that ended the
measurement's own search is known there exactly, and enters as one more point. What the curve does not reach is not guessed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.root import BACKLOG
from simulator.spec.slo import Bound, Slo

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "max": 1.0}
Document = dict[str, Any]


@dataclass(frozen=True)
class Curve:
    """Loads that were run with their Metrics, ascending; the Slo that they were run for, its capacity, and what ends it."""

    loads: Sequence[tuple[float, Mapping[str, Any]]]
    own: Slo
    binding: str | None
    capacity_rps: float | None

    def end(self, slo: Slo) -> tuple[float | None, str | None, str | None]:
        """Returns the capacity, the bound that ends it, and what the curve leaves open; None where nothing run keeps the Slo."""
        roots = {bound.name: self._crossing(bound, slo) for bound in slo.bounds}
        broken = {name: root for name, root in roots.items() if root is not None}
        if self.binding == BACKLOG and self.capacity_rps is not None:
            # Whether the backlog grows does not depend on the Slo.
            broken[BACKLOG] = self.capacity_rps
        if broken:
            name = min(broken, key=lambda each: broken[each])
            if broken[name] <= 0:
                lightest = self.loads[0][0]
                return None, name, f"{name} is broken at {lightest:.4g} requests a second already, the lightest load that was run"
            return broken[name], name, None
        last = max(self.loads[-1][0], self.capacity_rps or 0.0)
        return (
            last,
            None,
            f"no bound breaks up to {last:.4g} requests a second, the heaviest load that was run: capacity is at least that",
        )

    def _crossing(self, bound: Bound, slo: Slo) -> float | None:
        """Returns the lowest rate at which a bound breaks; 0 where it is broken at the lightest load, None where it never is."""
        known = [(rate, statistic(metrics, bound, slo)) for rate, metrics in self.loads]
        ends = self.binding == bound.name and self.capacity_rps is not None
        if ends and self.capacity_rps is not None:
            # There the study found that the bound is just kept.
            others = [(rate, value) for rate, value in known if rate != self.capacity_rps]
            known = sorted([*others, (self.capacity_rps, self.own[bound.name])])
        before: tuple[float, float] | None = None
        for rate, value in known:
            if value > bound.limit_s or (ends and rate == self.capacity_rps and value >= bound.limit_s):
                return 0.0 if before is None else _where(before, (rate, value), bound.limit_s)
            before = (rate, value)
        return None


def _where(low: tuple[float, float], high: tuple[float, float], limit: float) -> float:
    """Returns the rate between two at which the value is the limit, by the straight line of its logarithm."""
    (left, under), (right, over) = low, high
    if not 0 < under <= limit or math.isinf(over):
        return left
    share = math.log(limit / under) / math.log(over / under)
    return left + share * (right - left)


def statistic(metrics: Mapping[str, Any], bound: Bound, slo: Slo) -> float:
    """Returns the value that a bound limits, in seconds: requests that were lost count as infinitely slow, and then the next
    higher statistic that is stored stands for the one that is asked for."""
    whose = _whose(metrics, bound, slo)
    values = whose.get(bound.metric) or metrics[bound.metric]
    lost, count = whose["rejected"] + (whose.get("expired") or 0), whose["requests"]
    if bound.statistic == "mean":
        return math.inf if lost else _number(values["mean"])
    if not lost:
        return _number(values[bound.statistic])
    share = QUANTILES[bound.statistic] / (1 - lost / count) if lost < count else math.inf
    name = next((name for name, quantile in QUANTILES.items() if quantile >= share), None)
    return math.inf if name is None else _number(values[name])


def _whose(metrics: Mapping[str, Any], bound: Bound, slo: Slo) -> Mapping[str, Any]:
    """Returns the metrics of the class that a bound is about; of all requests where it is about all, or about gaps."""
    classes: Mapping[str, Mapping[str, Any]] = metrics.get("classes") or {}
    if bound.class_name is not None:
        return classes.get(bound.class_name, metrics)
    left = [name for name in classes if name not in slo.class_names]
    return classes[left[0]] if len(left) == 1 and len(classes) > 1 and bound.metric != "itl_s" else metrics


def _number(value: float | None) -> float:
    return 0.0 if value is None else value
