"""Capacity: the highest arrival rate within the Slo, with an interval, and the latency curve on the way there.

One set of requests, drawn at a unit rate, is replayed at every rate, so that the worst bound's excess is a smooth
function of the rate and its root takes few runs. A rate at which the backlog grows is beyond capacity whatever the Slo.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import stdtrit

from search.fidelity import LEVEL, Fidelity
from simulator.draw import draw
from simulator.errors import Infeasible, InputError
from simulator.measure import backlog_growth, excess, statistic
from simulator.run import SATURATION_REQUESTS, Outcome, Prepared, saturated_rate, simulate
from simulator.spec.slo import Slo
from simulator.spec.workload import Workload
from simulator.traffic import Traffic

FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
LIGHTEST = 0.01
BACKLOG = "backlog"
# The saturated rate is that of a full queue, whose preemptions waste work: a shorter queue may sustain a little more.
BEYOND = 1.1
_STEP = 0.01
_MOST_RUNS = 40


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
    `runs` holds (rate, Outcome) of the first seed at fixed fractions of the saturated rate and at the safe rate, ascending.
    """

    rate_rps: Estimate
    safe_rps: float
    binding: str
    saturated_rps: float
    runs: tuple[tuple[float, Outcome], ...]
    requests: int
    seeds: int
    notes: tuple[str, ...]


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
    fractions: tuple[float, ...] = FRACTIONS,
) -> Capacity:
    """Returns the capacity of the whole fleet; raises Infeasible when the Slo fails even at a trickle.

    The interval is Student's over the seeds, or `fidelity.spread` around the value of a single one.
    """
    replicas = prepared.deployment.replicas
    count = fidelity.requests * replicas
    ceiling = replicas * _saturated(prepared, workload, seed)
    first = _Probe(prepared, slo, traffic_for(workload, count, seed), ceiling)
    runs = [(fraction * ceiling, first.run(fraction * ceiling)) for fraction in fractions]
    roots = [first.capacity(runs, fidelity.tolerance)]
    for other in range(1, fidelity.seeds):
        probe = _Probe(prepared, slo, traffic_for(workload, count, seed + other), ceiling)
        roots.append(probe.near(roots[0], fidelity.tolerance))
    estimate = _estimate(np.array(roots), fidelity)
    safe = roots[0] if fidelity.seeds == 1 else min(estimate.low, roots[0])
    return Capacity(
        rate_rps=estimate,
        safe_rps=safe,
        binding=first.binding(roots[0], fidelity.tolerance),
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


def _estimate(roots: np.ndarray[tuple[int], np.dtype[np.float64]], fidelity: Fidelity) -> Estimate:
    value = float(roots.mean())
    if len(roots) == 1:
        half = fidelity.spread * value
    else:
        quantile = float(stdtrit(len(roots) - 1, 0.5 + LEVEL / 2))
        # A root is known to the tolerance of its search and no better, however well the seeds agree.
        half = max(quantile * float(roots.std(ddof=1)) / math.sqrt(len(roots)), fidelity.tolerance * value / 2)
    return Estimate(value, max(value - half, 0.0), value + half, LEVEL)


class _Probe:
    """One seed's requests, run at one rate after another."""

    def __init__(self, prepared: Prepared, slo: Slo, traffic: Traffic, ceiling: float) -> None:
        self.prepared, self.slo, self.traffic, self.ceiling = prepared, slo, traffic, ceiling
        self._known: dict[float, float] = {}

    def run(self, rate: float) -> Outcome:
        """Returns the outcome at a rate and remembers by how much it is over the Slo."""
        outcome = simulate(self.prepared, self.traffic, rate)
        self._known[rate] = worst(outcome, self.slo)[0]
        return outcome

    def over(self, rate: float) -> float:
        """Returns log(value / limit) of the worst bound at a rate; at most 0 where the Slo holds."""
        if rate not in self._known:
            self.run(rate)
        return self._known[rate]

    def capacity(self, runs: list[tuple[float, Outcome]], tolerance: float) -> float:
        """Returns the end of the first range of rates that keeps the Slo, bracketed by runs at ascending rates."""
        good = LIGHTEST * self.ceiling
        for rate, _ in runs:
            if self.over(rate) > 0:
                if good < runs[0][0] and self.over(good) > 0:
                    raise Infeasible(self._hopeless(good))
                return root(self.over, good, rate, tolerance)
            good = rate
        bad = self.ceiling
        while self.over(bad) <= 0:
            good, bad = bad, bad * BEYOND
        return root(self.over, good, bad, tolerance)

    def near(self, guess: float, tolerance: float) -> float:
        """Returns this seed's capacity, looked for around that of another seed."""
        step = _STEP
        good = bad = guess
        if self.over(good) <= 0:
            while self.over(bad) <= 0:
                good, bad, step = bad, bad * (1 + step), 2 * step
            return root(self.over, good, bad, tolerance)
        while self.over(good) > 0:
            bad, good, step = good, good * (1 - min(step, 0.5)), 2 * step
            if good < LIGHTEST * self.ceiling:
                return good
        return root(self.over, good, bad, tolerance)

    def binding(self, capacity: float, tolerance: float) -> str:
        """Returns the bound that fails just beyond the capacity, `backlog` when it is no bound of the Slo."""
        return worst(simulate(self.prepared, self.traffic, capacity * (1 + 2 * tolerance)), self.slo)[1]

    def _hopeless(self, rate: float) -> str:
        outcome = simulate(self.prepared, self.traffic, rate)
        _, term = excess(outcome, self.slo)
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


def root(over: Callable[[float], float], good: float, bad: float, tolerance: float) -> float:
    """Returns a rate at most `tolerance` (relative) below the first that fails, from over(good) <= 0 < over(bad).

    Illinois' regula falsi on the excess, which is a logarithm, and bisection where it is infinite; the good end is
    returned, so that the Slo holds there.
    """
    low, high = over(good), over(bad)
    if not low <= 0 < high:
        raise InputError("rate", (good, bad), "a bracket of the capacity")
    side = 0
    for _ in range(_MOST_RUNS):
        if bad - good <= tolerance * bad:
            break
        middle = (good + bad) / 2
        if math.isfinite(low) and math.isfinite(high) and high > low:
            guess = bad - high * (bad - good) / (high - low)
            # Close to an end the next bracket would hardly shrink, so a guess there is moved inwards.
            margin = min(0.4 * tolerance * bad, 0.25 * (bad - good))
            middle = min(max(guess, good + margin), bad - margin)
        value = over(middle)
        if value <= 0:
            good, low = middle, value
            high = high / 2 if side < 0 else high
            side = -1
        else:
            bad, high = middle, value
            low = low / 2 if side > 0 else low
            side = 1
    return good
