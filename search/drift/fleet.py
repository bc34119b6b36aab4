"""A deployment under the trace's requests: any number of replicas at one rate, judged by the study's Slo."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from search.breaking import check
from search.drift.document import Bounded, Load
from search.fidelity import MINIMUM_REQUESTS, MOST_REQUESTS
from search.probe import keeps, terms_of
from search.request import SearchRequest
from search.root import BACKLOG, holds
from simulator.draw import draw
from simulator.measure import metrics
from simulator.measure.verdict import Verdict
from simulator.run import Prepared, simulate
from simulator.spec.prices import Bill
from simulator.spec.workload import Workload
from simulator.traffic import Traffic

# A fleet of so many times the replicas that a capacity foretells is not what the capacity was measured for.
MOST_TIMES = 4


@dataclass(frozen=True)
class Run:
    """Requests, the mean rate at which they are sent, and what they are in words."""

    traffic: Traffic
    rate_rps: float
    told: str


@dataclass(frozen=True)
class Fleet:
    """The study's deployment on the new workload; `per_replica_rps` is what its capacity foretells, None where it has none."""

    request: SearchRequest
    prepared: Prepared
    workload: Workload
    per_replica_rps: float | None
    seed: int

    def bill(self, replicas: int) -> Bill | None:
        """Returns the cheapest rent of so many replicas; None without prices."""
        book, deployment = self.request.price_book, self.prepared.deployment
        return book.bill(deployment.device, deployment.gpus_per_replica, replicas) if book else None

    def run_of(self, rate_rps: float, replicas: int) -> Run:
        """Returns the trace's requests, continued by resampled blocks of them where they are too few for so many replicas.

        Of a trace that is too long for one run it is the stretch in which so many requests arrive in the shortest time.
        """
        asked = self.workload.model_copy(update={"rate_rps": rate_rps})
        whole = draw(asked, None, self.seed)
        count, least = len(whole), min(MINIMUM_REQUESTS * replicas, MOST_REQUESTS)
        if count < least:
            more = draw(asked, least, self.seed)
            return Run(more, rate_rps, f"its {count:,} requests, continued to {least:,} by blocks of them")
        if count <= MOST_REQUESTS:
            return Run(whole, rate_rps, f"its {count:,} requests")
        part = _busiest(whole, MOST_REQUESTS)
        told = f"those {MOST_REQUESTS:,} of its {count:,} requests that arrive in the shortest time"
        return Run(part, rate_rps * part.rate_rps / whole.rate_rps, told)

    def at(self, name: str, rate_rps: float, replicas: int) -> Load:
        """Returns how the fleet does at a rate, and how many replicas it would take."""
        check()
        run, slo = self.run_of(rate_rps, replicas), self.request.slo
        outcome = simulate(self.prepared, run.traffic, run.rate_rps, replicas)
        verdict, over = Verdict(outcome, slo), terms_of(outcome, slo)
        values = [(bound, verdict.value(bound)) for bound in slo.bounds]
        kept = holds(over)
        needed, reason = self._needed(rate_rps, replicas, kept)
        bill = None if needed is None else self.bill(needed)
        return Load(
            name=name,
            rate_rps=rate_rps,
            replicas=replicas,
            requests=len(run.traffic),
            traffic=run.told,
            kept=kept,
            bounds=tuple(
                Bounded(bound.name, bound.limit_s, value if math.isfinite(value) else None, value <= bound.limit_s)
                for bound, value in values
            ),
            backlog_grows=over[BACKLOG] > 0,
            metrics=metrics(outcome, self.prepared, slo, self.bill(replicas)).model_dump(mode="json"),
            needed=needed,
            needed_usd_per_hour=bill.usd_per_hour if bill else None,
            reason=reason,
        )

    def _keeps(self, rate_rps: float, replicas: int) -> bool:
        run = self.run_of(rate_rps, replicas)
        return keeps(self.prepared, self.request.slo, run.traffic, run.rate_rps, replicas)

    def _needed(self, rate_rps: float, replicas: int, kept: bool) -> tuple[int | None, str | None]:
        """Returns the fewest replicas that keep the Slo at a rate, or why there are none."""
        if self.per_replica_rps is None:
            return (replicas, None) if kept else (None, "no number of replicas keeps the SLO: one alone breaks it at any rate")
        guess = max(math.ceil(rate_rps / self.per_replica_rps), 1)
        most = MOST_TIMES * max(guess, replicas)
        known = {replicas: kept}

        def ask(count: int) -> bool:
            if count not in known:
                known[count] = self._keeps(rate_rps, count)
            return known[count]

        found = fewest(ask, guess, most)
        return (found, None) if found is not None else (None, f"not even {most:,} replicas keep the SLO at {rate_rps:g} req/s")


def fewest(ask: Callable[[int], bool], guess: int, most: int) -> int | None:
    """Returns the fewest, 1 to `most`, for which `ask` says yes, as if it did for all beyond; None where it never does."""
    low, high, step = 0, guess, 1
    while not ask(high):
        if high >= most:
            return None
        low, high, step = high, min(high + step, most), 2 * step
    step = 1
    while high - step > low and ask(high - step):
        high, step = high - step, 2 * step
    low = max(low, high - step)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if ask(middle) else (middle, high)
    return high


def _busiest(traffic: Traffic, count: int) -> Traffic:
    """Returns so many consecutive requests, those that arrive in the shortest time, as traffic of that rate."""
    spans = traffic.arrival_s[count - 1 :] - traffic.arrival_s[: len(traffic) - count + 1]
    first = int(np.argmin(spans))
    return traffic.between(first, first + count, float(traffic.arrival_s[first]), max(float(spans[first]), 1e-9))
