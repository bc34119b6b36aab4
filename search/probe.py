"""A probe: one seed's requests, run at one load after another, and by how much each run breaks the Slo."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from search.breaking import check
from search.root import BACKLOG, Root, Terms, downwards, holds, narrow
from search.root import worst as worst_term
from simulator.errors import Infeasible
from simulator.measure import backlog_growth, excesses, metrics
from simulator.measure.verdict import Verdict
from simulator.outcome import Outcome
from simulator.run import Prepared, simulate
from simulator.spec.metrics import Metrics
from simulator.spec.prices import Bill
from simulator.spec.slo import Slo
from simulator.traffic import Traffic

LIGHTEST = 0.01
# The saturated rate is that of a full queue, whose preemptions waste work: a shorter queue may sustain a little more.
BEYOND = 1.1
# How far up to go first from where the price list foretells saturation.
_UPWARDS = 1.06
_STEP = 0.01
# Each stride is the square of the one before: ten reach a hundred times the saturated rate and more.
_MOST_STRIDES = 10


class Probe:
    """One seed's requests, run at one load after another: at arrival rates, or in a closed loop with so many users."""

    def __init__(
        self,
        prepared: Prepared,
        slo: Slo,
        traffic: Traffic,
        play: Callable[[float], Outcome],
        ceiling: float,
        bill: Bill | None,
        closed: bool = False,
    ) -> None:
        self.prepared, self.slo, self.traffic, self.play, self.bill = prepared, slo, traffic, play, bill
        self.ceiling, self.closed = ceiling, closed
        self.least = 1.0 if closed else LIGHTEST * ceiling
        self._known: dict[float, Terms] = {}
        self._kept: tuple[float, Outcome] | None = None

    def loads(self, fractions: Sequence[float]) -> list[float]:
        """Returns ascending loads at fractions of the ceiling."""
        loads = [fraction * self.ceiling for fraction in fractions]
        return sorted({max(float(round(load)), 1.0) for load in loads}) if self.closed else loads

    def run(self, load: float) -> Metrics:
        """Returns the metrics at a load and remembers by how much it is over the Slo."""
        outcome = self._outcome(load)
        return metrics(outcome, self.prepared, self.slo, self.bill)

    def over(self, load: float) -> Terms:
        """Returns by how much each term breaks at a load; at most 0 where it holds."""
        if load not in self._known:
            self._outcome(load)
        return self._known[load]

    def capacity(self, loads: Sequence[float], tolerance: float) -> Root:
        """Returns the end of the first range of loads that keeps the Slo, looked for between ascending ones if there are any."""
        if not loads:
            return self._around(round(self.ceiling) if self.closed else self.ceiling, tolerance)
        good = self.least
        for place, load in enumerate(loads):
            if not holds(self.over(load)):
                if place == 0 and not holds(self.over(good)):
                    raise Infeasible(self._hopeless(good))
                return self._narrow(good, load, tolerance)
            good = load
        return self._beyond(good, max(self.ceiling, good + self.closed), BEYOND, tolerance)

    def near(self, guess: float, tolerance: float) -> Root:
        """Returns this seed's capacity, looked for around that of another seed."""
        if holds(self.over(guess)):
            return self._beyond(guess, guess * (1 + _STEP), 1 + 2 * _STEP, tolerance)
        good, bad, step = guess, guess, _STEP
        while not holds(self.over(good)):
            bad, good, step = good, self._rounded(good * (1 - min(step, 0.5)), math.floor), 2 * step
            if good < self.least:
                return Root(self.least, self.least, worst_term(self.over(bad))[1])
        return self._narrow(good, bad, tolerance)

    def _around(self, guess: float, tolerance: float) -> Root:
        """Returns the capacity, looked for from a guess up or down."""
        if holds(self.over(guess)):
            return self._beyond(guess, guess * _UPWARDS, _UPWARDS * _UPWARDS, tolerance)
        bad = good = guess
        for load in downwards(self.over, guess, self.least, tolerance, self.closed):
            bad, good = good, load
        if not holds(self.over(good)):
            raise Infeasible(self._hopeless(good))
        return self._narrow(good, bad, tolerance)

    def _beyond(self, good: float, bad: float, factor: float, tolerance: float) -> Root:
        """Returns the capacity above a load that keeps the Slo, by ever longer strides upwards."""
        for _ in range(_MOST_STRIDES):
            # More users than requests would be idle.
            bad = min(self._rounded(bad, math.ceil), float(len(self.traffic))) if self.closed else bad
            if bad <= good:
                break
            if not holds(self.over(bad)):
                return self._narrow(good, bad, tolerance)
            good, bad, factor = bad, bad * factor, factor * factor
        raise Infeasible(f"no load breaks the SLO: of {len(self.traffic):,} requests too few are served to queue")

    def _narrow(self, good: float, bad: float, tolerance: float) -> Root:
        return narrow(self.over, good, bad, tolerance, self.closed)

    def _rounded(self, load: float, to_whole: Callable[[float], int]) -> float:
        return float(to_whole(load)) if self.closed else load

    def _outcome(self, load: float) -> Outcome:
        """Returns the outcome at a load; the last one that kept the Slo is at hand, since a capacity's metrics are asked for."""
        if self._kept is not None and self._kept[0] == load:
            return self._kept[1]
        check()
        outcome = self.play(load)
        self._known[load] = terms_of(outcome, self.slo, self.closed)
        if holds(self._known[load]):
            self._kept = (load, outcome)
        return outcome

    def _hopeless(self, load: float) -> str:
        """Returns why not even the lightest load keeps the Slo."""
        outcome = self._outcome(load)
        term = worst_term(self.over(load))[1]
        unit = "users" if self.closed else "requests a second"
        if term == BACKLOG:
            return f"the backlog grows even at {load:.3g} {unit}: requests arrive faster than they are served for too long"
        bound = next(bound for bound in self.slo.bounds if bound.name == term)
        value = Verdict(outcome, self.slo).value(bound)
        if math.isfinite(value):
            return f"{term} is {value:.4g} s even at {load:.3g} {unit}, over its limit of {bound.limit_s:g} s"
        refused, late = int(outcome.rejected.sum()), int(outcome.expired.sum())
        if late > refused:
            return f"{term} <= {bound.limit_s:g} s cannot hold: {late:,} of {len(self.traffic):,} requests pass their deadline"
        return (
            f"{term} <= {bound.limit_s:g} s cannot hold: {refused:,} of {len(self.traffic):,} requests are longer than "
            f"max_model_len ({self.prepared.limits.max_model_len:,}) or than the KV pool"
        )


def open_probe(prepared: Prepared, slo: Slo, traffic: Traffic, ceiling_rps: float, bill: Bill | None = None) -> Probe:
    """Returns the probe of arrival rates."""
    return Probe(prepared, slo, traffic, partial(simulate, prepared, traffic), ceiling_rps, bill)


def users_probe(prepared: Prepared, slo: Slo, traffic: Traffic, ceiling: float, bill: Bill | None = None) -> Probe:
    """Returns the probe of numbers of users in a closed loop, whom the traffic's requests are shared out to."""

    def play(users: float) -> Outcome:
        return simulate(prepared, traffic.with_users(int(users)))

    return Probe(prepared, slo, traffic, play, ceiling, bill, closed=True)


def terms_of(outcome: Outcome, slo: Slo, closed: bool = False) -> dict[str, float]:
    """Returns the excess over each of the Slo's bounds and, in an open loop, that of the backlog."""
    if outcome.stopped:
        return {bound.name: math.inf for bound in slo.bounds}
    found = excesses(outcome, slo)
    if not closed:
        found[BACKLOG] = _backlog(outcome)
    return found


def worst(outcome: Outcome, slo: Slo) -> tuple[float, str]:
    """Returns the largest excess over the Slo's bounds and the backlog's, and its name."""
    return worst_term(terms_of(outcome, slo))


def keeps(prepared: Prepared, slo: Slo, traffic: Traffic, rate_rps: float, replicas: int) -> bool:
    """Returns whether a fleet keeps the Slo at a rate; the run is broken off as soon as it certainly does not."""
    check()
    outcome = simulate(prepared, traffic, rate_rps, replicas, stop=slo)
    return not outcome.stopped and holds(terms_of(outcome, slo))


def _backlog(outcome: Outcome) -> float:
    """Returns by how much the backlog grows beyond chance: a logarithm above, and on below as a line of the same slope."""
    # Two standard deviations of what comes and goes by chance in the second half of so many requests.
    chance = 2 / math.sqrt(max(len(outcome.arrived_at) / 2, 1))
    ratio = backlog_growth(outcome) / chance
    return math.log(ratio) if ratio > 1 else ratio - 1
