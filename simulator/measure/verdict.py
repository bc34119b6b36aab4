"""An Outcome against an Slo: the value of each bound, by how much it is broken, the backlog, and good requests."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np

from simulator.errors import InputError
from simulator.measure.latencies import Flags, Gaps, Latencies
from simulator.measure.ranks import PERCENTILES, nearest_rank
from simulator.outcome import Outcome
from simulator.spec.slo import REQUEST_LIMITS, Bound, Slo


class Verdict:
    """What an Slo makes of a run; latencies are worked out once for each set of requests that a bound is about."""

    def __init__(self, outcome: Outcome, slo: Slo, of_all: Latencies | None = None) -> None:
        self.outcome, self.slo = outcome, slo
        self._latencies: dict[str | None, Latencies] = {}
        # A bound without a class is about the classes that the Slo does not name.
        self._named = [name for name in slo.class_names if name in outcome.class_names]
        if not self._named:
            self._latencies[None] = of_all or Latencies(outcome)
        self._gaps: Gaps | None = None

    def about(self, class_name: str | None) -> Latencies:
        """Returns the latencies of the requests that the bounds of a class, or those without one, are about."""
        if class_name not in self._latencies:
            members = self._unnamed() if class_name is None else of_class(self.outcome, class_name)
            self._latencies[class_name] = Latencies(self.outcome, members)
        return self._latencies[class_name]

    def value(self, bound: Bound) -> float:
        """Returns the value that a bound limits, in seconds."""
        if bound.metric == "itl_s":
            return self._gap_value(bound)
        found = self.about(bound.class_name)
        lost = found.hopeless
        missing = int((lost & (self.outcome.output_tokens > 1)).sum() if bound.metric == "tpot_s" else lost.sum())
        count = len(found.values(bound.metric))
        if count + missing == 0:
            return 0.0
        if bound.statistic == "mean":
            return math.inf if missing else float(found.values(bound.metric).mean())
        rank = nearest_rank(count + missing, PERCENTILES[bound.statistic])
        return found.ranked(bound.metric, rank) if rank < count else math.inf

    def excesses(self) -> dict[str, float]:
        """Returns log(value / limit) of each bound by its name; at most 0 where it holds."""
        return {bound.name: _log(self.value(bound), bound.limit_s) for bound in self.slo.bounds}

    def met(self, class_name: str | None = None) -> bool:
        """Returns whether every bound holds, or every one that is about a class."""
        bounds = self.slo.bounds
        if class_name is not None:
            named = class_name if class_name in self._named else None
            bounds = tuple(bound for bound in bounds if bound.class_name == named)
        return all(self.value(bound) <= bound.limit_s for bound in bounds)

    def _gap_value(self, bound: Bound) -> float:
        if bound.class_name is not None:
            allowed = "a bound on ttft, tpot or e2e, since gaps between tokens are counted over all classes"
            raise InputError(f"slo.{bound.name}", bound.limit_s, allowed)
        self._gaps = gaps = self._gaps or Gaps(self.outcome)
        lost = self.outcome.rejected | self.outcome.expired
        missing = int((self.outcome.output_tokens - np.maximum(self.outcome.produced_tokens, 1))[lost].sum()) if lost.any() else 0
        if gaps.total + missing == 0:
            return 0.0
        if bound.statistic == "mean":
            return math.inf if missing else gaps.mean()
        rank = nearest_rank(gaps.total + missing, PERCENTILES[bound.statistic])
        return gaps.ranked(rank) if rank < gaps.total else math.inf

    def _unnamed(self) -> Flags:
        named = (of_class(self.outcome, name) for name in self._named)
        members: Flags = ~reduce(np.logical_or, named)
        return members


def of_class(outcome: Outcome, class_name: str) -> Flags:
    """Returns whether each request is of a class."""
    if class_name not in outcome.class_names:
        return np.zeros(len(outcome.class_of), dtype=np.bool_)
    members: Flags = outcome.class_of == outcome.class_names.index(class_name)
    return members


def _log(value: float, limit: float) -> float:
    return math.log(value / limit) if 0 < value < math.inf else (math.inf if value > 0 else -math.inf)


def statistic(outcome: Outcome, bound: Bound) -> float:
    """Returns the value that a bound of an Slo without other classes limits; a lost request counts as infinitely slow."""
    return Verdict(outcome, Slo({bound.name: bound.limit_s})).value(bound)


def excesses(outcome: Outcome, slo: Slo) -> dict[str, float]:
    """Returns log(value / limit) of each bound by its name; at most 0 where it holds."""
    return Verdict(outcome, slo).excesses()


def excess(outcome: Outcome, slo: Slo) -> tuple[float, str]:
    """Returns the largest log(value / limit) over the bounds, and which bound it is; at most 0 when all hold."""
    found = excesses(outcome, slo)
    term = max(found, key=lambda name: found[name])
    return found[term], term


def backlog_growth(outcome: Outcome) -> float:
    """Returns by how many requests the unfinished ones grow while the second half arrives, as a share of that half.

    Requests that did not finish, since nobody waits for them in the end, are left out.
    """
    served = Latencies(outcome).finished
    every = bool(served.all())
    arrived = outcome.arrived_at if every else outcome.arrived_at[served]
    finished = np.sort(outcome.finished_at if every else outcome.finished_at[served])
    if len(arrived) < 2:
        return 0.0
    if (arrived[1:] < arrived[:-1]).any():
        arrived = np.sort(arrived)
    half = len(arrived) // 2
    middle, end = (int(np.searchsorted(finished, arrived[place], side="right")) for place in (half - 1, len(arrived) - 1))
    return ((len(arrived) - end) - (half - middle)) / (len(arrived) - half)


def good_requests(outcome: Outcome, slo: Slo, class_name: str | None = None) -> int:
    """Returns how many finished requests, or how many of one class, keep every per-request limit of their class."""
    names = outcome.class_names if class_name is None else (class_name,)
    if not slo.class_names and class_name is None:
        return _good(outcome, slo, None, None)
    return sum(_good(outcome, slo, name, of_class(outcome, name)) for name in names)


def _good(outcome: Outcome, slo: Slo, class_name: str | None, members: Flags | None) -> int:
    good = Latencies(outcome, members).finished.copy()
    for name in REQUEST_LIMITS:
        limit = slo.request_limit(name, class_name)
        if limit is None:
            continue
        if name == "itl_max_s":
            value = outcome.itl_max
        elif name == "tpot_s":
            value = (outcome.finished_at - outcome.first_token_at) / np.maximum(outcome.output_tokens - 1, 1)
        else:
            value = (outcome.first_token_at if name == "ttft_s" else outcome.finished_at) - outcome.arrived_at
        # What did not finish has no times, and what is not a number is within no limit.
        good &= value <= limit
    return int(good.sum())
