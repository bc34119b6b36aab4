"""Capacity: the highest arrival rate within the Slo, with an interval, and the latency curve on the way there.

One set of requests, drawn at a unit rate, is replayed at every rate, so that the worst bound's excess is a smooth
function of the rate and its root takes few runs. A rate at which the backlog grows is beyond capacity whatever the Slo.

The interval is one that a single run can check: a run of twice as many requests finds its capacity inside with confidence
LEVEL. It holds the scatter of that run beside that of the mean, and so holds the capacity of endless traffic all the more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from search.fidelity import LEVEL, Fidelity
from simulator.draw import draw
from simulator.errors import Infeasible, InputError
from simulator.measure import backlog_growth, excess, metrics, statistic
from simulator.run import SATURATION_REQUESTS, Outcome, Prepared, saturated_rate, simulate
from simulator.spec.metrics import Metrics
from simulator.spec.prices import Bill
from simulator.spec.slo import Slo
from simulator.spec.workload import Workload
from simulator.traffic import Traffic

FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
LIGHTEST = 0.01
BACKLOG = "backlog"
# The saturated rate is that of a full queue, whose preemptions waste work: a shorter queue may sustain a little more.
BEYOND = 1.1
# How much longer than the runs that are behind an interval the one is that may check it.
CHECK = 2
_STEP = 0.01
_MOST_RUNS = 40
# Each stride is the square of the one before: ten reach a hundred times the saturated rate and more.
_MOST_STRIDES = 10


@dataclass(frozen=True)
class Estimate:
    """A capacity in requests a second of the whole fleet, with an interval of confidence `level`."""

    value: float
    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Capacity:
    """A capacity, the bound that ends it, the saturated rate, and the operating points that were run on the way.

    `safe_rps` is the highest rate to plan with: the low end of the interval, or less where the first seed needs it.
    `runs` holds (rate, Metrics) of the first seed at fixed fractions of the saturated rate and at the safe rate, ascending.
    """

    rate_rps: Estimate
    safe_rps: float
    binding: str
    saturated_rps: float
    runs: tuple[tuple[float, Metrics], ...]
    requests: int
    seeds: int
    notes: tuple[str, ...]


class Root(NamedTuple):
    """Where an excess changes sign: `value` by interpolation in a narrow bracket, `good` its end that keeps the Slo."""

    value: float
    good: float


def traffic_for(workload: Workload, count: int, seed: int) -> Traffic:
    """Returns `count` requests of a study's workload, drawn afresh for each seed; kept, since all trials share them."""
    return _drawn(workload.canonical(), count, seed)


@lru_cache(maxsize=16)
def _drawn(workload: str, count: int, seed: int) -> Traffic:
    return draw(Workload.model_validate_json(workload), count, seed, resample=True)


def measure_capacity(
    prepared: Prepared,
    workload: Workload,
    slo: Slo,
    fidelity: Fidelity,
    seed: int = 0,
    bill: Bill | None = None,
    fractions: Sequence[float] = FRACTIONS,
) -> Capacity:
    """Returns the capacity of the whole fleet; raises Infeasible when the Slo fails even at a trickle.

    The interval is from the scatter of the seeds, or `fidelity.spread` around the value of a single one.
    """
    replicas = prepared.deployment.replicas
    count = fidelity.count(replicas)
    ceiling = replicas * _saturated(prepared, workload, seed)
    first, *others = (
        _Probe(prepared, slo, traffic_for(workload, count, each), ceiling, bill) for each in fidelity.seeds_from(seed)
    )
    rates = [fraction * ceiling for fraction in fractions]
    runs = [(rate, first.run(rate)) for rate in rates]
    found = first.capacity(rates, fidelity.tolerance)
    roots = [found, *(probe.near(found.value, fidelity.tolerance) for probe in others)]
    estimate = _estimate([root.value for root in roots], fidelity)
    # However wildly the seeds disagree, the lightest load is never beyond the first of them.
    safe = found.good if fidelity.seeds == 1 else max(min(estimate.low, found.good), LIGHTEST * ceiling)
    return Capacity(
        rate_rps=estimate,
        safe_rps=safe,
        binding=first.binding(found.value, fidelity.tolerance),
        saturated_rps=ceiling,
        runs=tuple(sorted([*runs, (safe, first.run(safe))], key=lambda run: run[0])),
        requests=count,
        seeds=fidelity.seeds,
        notes=first.traffic.notes,
    )


def _saturated(prepared: Prepared, workload: Workload, seed: int) -> float:
    """Returns one replica's saturated rate from enough requests to fill its batch several times."""
    count = max(SATURATION_REQUESTS, 8 * prepared.limits.max_num_seqs)
    return saturated_rate(prepared, traffic_for(workload, count, seed))


def _estimate(values: Sequence[float], fidelity: Fidelity) -> Estimate:
    """Returns the geometric mean with Student's prediction interval: the scatter of the mean and of a checking run."""
    logs, count = np.log(values), len(values)
    value = math.exp(float(logs.mean()))
    if count == 1:
        return Estimate(value, value * (1 - fidelity.spread), value * (1 + fidelity.spread), LEVEL)
    quantile = float(stdtrit(count - 1, 0.5 + LEVEL / 2))
    # A root is known to the tolerance of its search and no better, however well the seeds agree.
    half = max(quantile * float(logs.std(ddof=1)) * math.sqrt(1 / count + 1 / CHECK), fidelity.tolerance / 2)
    return Estimate(value, value * math.exp(-half), value * math.exp(half), LEVEL)


class _Probe:
    """One seed's requests, run at one rate after another."""

    def __init__(self, prepared: Prepared, slo: Slo, traffic: Traffic, ceiling: float, bill: Bill | None) -> None:
        self.prepared, self.slo, self.traffic, self.ceiling, self.bill = prepared, slo, traffic, ceiling, bill
        self._known: dict[float, float] = {}

    def run(self, rate: float) -> Metrics:
        """Returns the metrics at a rate and remembers by how much it is over the Slo."""
        outcome = simulate(self.prepared, self.traffic, rate)
        self._known[rate] = worst(outcome, self.slo)[0]
        return metrics(outcome, self.prepared, self.slo, self.bill)

    def over(self, rate: float) -> float:
        """Returns log(value / limit) of the worst bound at a rate; at most 0 where the Slo holds."""
        if rate not in self._known:
            self._known[rate] = worst(simulate(self.prepared, self.traffic, rate), self.slo)[0]
        return self._known[rate]

    def capacity(self, rates: Sequence[float], tolerance: float) -> Root:
        """Returns the end of the first range of rates that keeps the Slo, bracketed by ascending rates."""
        good = LIGHTEST * self.ceiling
        for place, rate in enumerate(rates):
            if self.over(rate) > 0:
                if place == 0 and self.over(good) > 0:
                    raise Infeasible(self._hopeless(good))
                return root(self.over, good, rate, tolerance)
            good = rate
        return self._beyond(good, self.ceiling, BEYOND, tolerance)

    def near(self, guess: float, tolerance: float) -> Root:
        """Returns this seed's capacity, looked for around that of another seed."""
        if self.over(guess) <= 0:
            return self._beyond(guess, guess * (1 + _STEP), 1 + 2 * _STEP, tolerance)
        good, bad, step = guess, guess, _STEP
        while self.over(good) > 0:
            bad, good, step = good, good * (1 - min(step, 0.5)), 2 * step
            if good < LIGHTEST * self.ceiling:
                return Root(good, good)
        return root(self.over, good, bad, tolerance)

    def _beyond(self, good: float, bad: float, factor: float, tolerance: float) -> Root:
        """Returns the capacity above a rate that keeps the Slo, by ever longer strides upwards."""
        for _ in range(_MOST_STRIDES):
            if self.over(bad) > 0:
                return root(self.over, good, bad, tolerance)
            good, bad, factor = bad, bad * factor, factor * factor
        raise Infeasible(f"no arrival rate breaks the SLO: of {len(self.traffic):,} requests too few are served to queue")

    def binding(self, capacity: float, tolerance: float) -> str:
        """Returns the bound that fails just beyond the capacity, `backlog` when it is no bound of the Slo."""
        return worst(simulate(self.prepared, self.traffic, capacity * (1 + 2 * tolerance)), self.slo)[1]

    def _hopeless(self, rate: float) -> str:
        outcome = simulate(self.prepared, self.traffic, rate)
        term = worst(outcome, self.slo)[1]
        if term == BACKLOG:
            return (
                f"the backlog grows even at {rate:.3g} requests a second: requests arrive faster than they are served for too long"
            )
        bound = next(bound for bound in self.slo.bounds if bound.term == term)
        value = statistic(outcome, bound)
        refused = int(outcome.rejected.sum())
        if math.isinf(value):
            return (
                f"{term} <= {bound.limit_s:g} s cannot hold: {refused:,} of {len(self.traffic):,} requests are longer than "
                f"max_model_len ({self.prepared.limits.max_model_len:,}) or than the KV pool"
            )
        return f"{term} is {value:.4g} s even at {rate:.3g} requests a second, over its limit of {bound.limit_s:g} s"


def worst(outcome: Outcome, slo: Slo) -> tuple[float, str]:
    """Returns the largest excess over the Slo's bounds and the backlog's, and its name."""
    growth = backlog_growth(outcome)
    # Two standard deviations of what comes and goes by chance in the second half of so many requests.
    chance = 2 / math.sqrt(max(len(outcome.arrived_at) / 2, 1))
    backlog = math.log(growth / chance) if growth > 0 else -math.inf
    return max(excess(outcome, slo), (backlog, BACKLOG))


def root(over: Callable[[float], float], good: float, bad: float, tolerance: float) -> Root:
    """Returns the first rate that fails, from over(good) <= 0 < over(bad) narrowed to a relative width of `tolerance`.

    Illinois' regula falsi on the excess, which is a logarithm, and bisection where it is infinite.
    """
    low, high = over(good), over(bad)
    if not low <= 0 < high:
        raise InputError("rate", (good, bad), "a bracket of the capacity")
    side = 0
    for _ in range(_MOST_RUNS):
        if bad - good <= tolerance * bad:
            break
        middle = _secant(good, low, bad, high)
        # Close to an end the next bracket would hardly shrink, so a guess there is moved inwards.
        margin = min(0.4 * tolerance * bad, 0.25 * (bad - good))
        middle = min(max(middle, good + margin), bad - margin)
        value = over(middle)
        if value <= 0:
            good, low = middle, value
            high = high / 2 if side < 0 else high
            side = -1
        else:
            bad, high = middle, value
            low = low / 2 if side > 0 else low
            side = 1
    return Root(_secant(good, over(good), bad, over(bad)), good)


def _secant(good: float, low: float, bad: float, high: float) -> float:
    """Returns where the line through both ends is 0, or the middle where one of them is infinite."""
    if math.isfinite(low) and math.isfinite(high) and high > low:
        return bad - high * (bad - good) / (high - low)
    return (good + bad) / 2
