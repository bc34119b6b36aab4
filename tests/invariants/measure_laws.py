"""Laws of what is measured: queueing theory, nearest ranks, gaps, violations, goodput."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from simulator.outcome import Outcome
from tests.invariants.laws import SLACK, SLACK_S, Floats, require

BIN_WIDTH = 0.001


def waits_as_m_d_1(waits_s: Floats, rate_rps: float, service_s: float, within: float) -> None:
    """The mean wait for one server of constant service time is Pollaczek and Khinchine's for Poisson arrivals."""
    load = rate_rps * service_s
    expected = load * service_s / (2 * (1 - load))
    found = float(waits_s.mean())
    require(abs(found / expected - 1) <= within, "M/D/1", f"mean wait {found} s, expected {expected} s")


def rank(values: Sequence[float], percent: int) -> float:
    """Returns the nearest-rank percentile by its definition: the least value with so many percent at or below it."""
    needed = Fraction(percent, 100) * len(values)
    at_or_below = 0
    for value, count in sorted(Counter(values).items()):
        at_or_below += count
        if at_or_below >= needed:
            return value
    raise ValueError("no values")


def percentiles_are_nearest_rank(values: Sequence[float], found: Any) -> None:
    """p50, p90, p95 and p99 are each one of the values: the nearest rank's."""
    for percent in (50, 90, 95, 99):
        expected, value = rank(values, percent), getattr(found, f"p{percent}")
        require(value == expected, "percentiles are nearest-rank", f"p{percent} {value}, expected {expected}")


def gaps_are_exact(gaps_s: Sequence[float], found: Any) -> None:
    """ITL percentiles are within a bin's width of the exact ones; mean and maximum are exact."""
    for percent in (50, 90, 95, 99):
        expected, value = rank(gaps_s, percent), getattr(found, f"p{percent}")
        require(abs(value - expected) <= BIN_WIDTH * expected, "gaps are exact to 0.1 %", f"p{percent} {value} for {expected}")
    mean = math.fsum(gaps_s) / len(gaps_s)
    require(math.isclose(found.mean, mean, rel_tol=SLACK), "the mean gap is exact", f"{found.mean} for {mean}")
    require(math.isclose(found.max, max(gaps_s), rel_tol=SLACK, abs_tol=SLACK_S), "the longest gap is exact", found.max)


def rejected_count_as_violations(values: Sequence[float], rejected: int, percent: int, found: float) -> None:
    """A bound's statistic is the percentile over all requests, a rejected one being infinitely slow."""
    expected = rank([*values, *[math.inf] * rejected], percent)
    require(found == expected, "rejected requests are violations", f"p{percent} {found}, expected {expected}")


def goodput_counts(outcome: Outcome, limits: dict[str, float], found: int) -> None:
    """Good requests are those served ones that keep every limit on one request."""
    good = 0
    for i in np.flatnonzero(~outcome.rejected):
        first, finished = outcome.first_token_at[i], outcome.finished_at[i]
        tokens = int(outcome.output_tokens[i])
        values = {
            "ttft_s": first - outcome.arrived_at[i],
            "tpot_s": (finished - first) / (tokens - 1) if tokens > 1 else 0.0,
            "itl_max_s": outcome.itl_max[i],
            "e2e_s": finished - outcome.arrived_at[i],
        }
        good += all(values[name] <= limit for name, limit in limits.items())
    require(found == good, "goodput counts requests that keep every limit", f"{found}, expected {good}")
