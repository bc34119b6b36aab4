"""The laws that every run keeps, each as a function that raises Broken; docs/invariants.md lists them.

They read an Outcome, or plain numbers, so that they hold a compiled run, the oracle's and a real engine's to the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.run import Outcome

Floats = NDArray[np.float64]
# Times are sums of many steps, each rounded.
SLACK_S = 1e-9
SLACK = 1e-9
TIMES = ("first_scheduled_at", "first_token_at", "finished_at")
TOTALS = ("iterations", "scheduled_requests", "scheduled_tokens", "sampled_tokens")
BIN_WIDTH = 0.0005


class Broken(AssertionError):
    """A law does not hold."""


def require(holds: object, law: str, detail: object = "") -> None:
    """Raises Broken with the law's words unless it holds."""
    if not holds:
        raise Broken(f"{law}: {detail}" if detail != "" else law)


# Conservation


def requests_are_conserved(outcome: Outcome) -> None:
    """Every request is served whole, or rejected and untouched; every token is sampled once, every gap counted once."""
    served = ~outcome.rejected
    for name in TIMES:
        times = getattr(outcome, name)
        require(np.isfinite(times[served]).all(), "every accepted request is served", f"{name} is missing")
        require(np.isnan(times[outcome.rejected]).all(), "a rejected request is left alone", name)
    require(((outcome.replica >= 0) == served).all(), "every accepted request has a replica, a rejected one has none")
    require((outcome.replica < outcome.replicas).all(), "replicas are those of the fleet")
    tokens = int(outcome.output_tokens[served].sum())
    require(outcome.sampled_tokens == tokens, "every output token is sampled once", f"{outcome.sampled_tokens} of {tokens}")
    gaps = tokens - int(served.sum())
    require(int(outcome.gap_count.sum()) == gaps, "every gap is counted once", f"{outcome.gap_count.sum()} of {gaps}")
    least = int(outcome.prompt_tokens[served].sum()) + gaps
    recomputed = outcome.scheduled_tokens - least
    require(recomputed >= 0, "all but the last token is computed", f"{-recomputed} short")
    require(recomputed == 0 or outcome.preemptions.sum() > 0, "only a preemption computes anew", f"{recomputed} tokens")


def blocks_are_conserved(free_blocks: Iterable[int], total_blocks: int) -> None:
    """At the end every block of every replica is free again."""
    free = [int(count) for count in free_blocks]
    require(all(count == total_blocks for count in free), "blocks return", f"{free} of {total_blocks}")


def limits_are_kept(outcome: Outcome, limits: Any) -> None:
    """On average, and so surely where every step is full, no step exceeds seats, token budget or pool."""
    seats, budget = limits.max_num_seqs, limits.max_num_batched_tokens
    require(outcome.scheduled_requests <= outcome.iterations * seats, "seats bound a step", outcome.scheduled_requests)
    require(outcome.scheduled_tokens <= outcome.iterations * budget, "the budget bounds a step", outcome.scheduled_tokens)
    room = outcome.busy_s * outcome.kv_blocks * (1 + SLACK)
    require(-SLACK <= outcome.block_seconds <= room, "the pool bounds what is held", outcome.block_seconds)


# Time


def time_goes_forward(outcome: Outcome) -> None:
    """Arrival, first scheduling, first token, finish: in this order; no gap is negative and all of them fill the decode."""
    served = ~outcome.rejected
    arrived, scheduled, first, finished = (getattr(outcome, name)[served] for name in ("arrived_at", *TIMES))
    require((scheduled >= arrived).all(), "nobody is scheduled before arriving")
    require((first > scheduled).all(), "the first token takes a step")
    several = outcome.output_tokens[served] > 1
    require((finished[several] > first[several]).all(), "every further token takes a step")
    require((finished[~several] == first[~several]).all(), "a single token is the first and the last")
    require((outcome.gap_sum >= 0).all(), "no token comes before the one before it")
    total, spans = float(outcome.gap_sum.sum()), float((finished - first).sum())
    require(math.isclose(total, spans, rel_tol=SLACK, abs_tol=SLACK_S), "gaps fill the decode", f"{total} of {spans}")
    longest, tokens = outcome.itl_max[served], outcome.output_tokens[served]
    require((longest <= finished - first + SLACK_S).all(), "the longest gap lies within the decode")
    require((longest * (tokens - 1) >= finished - first - SLACK_S).all(), "the longest gap is at least their mean")


def nobody_overtakes(outcome: Outcome) -> None:
    """First come, first served: on each replica requests are first scheduled in their order of arrival."""
    for replica in range(outcome.replicas):
        scheduled = outcome.first_scheduled_at[outcome.replica == replica]
        require((np.diff(scheduled) >= 0).all(), "nobody overtakes", f"replica {replica}")


def work_is_conserved(outcome: Outcome) -> None:
    """No replica idles while a request of its own is unfinished: busy time is the time in which somebody is there."""
    present = 0.0
    for replica in range(outcome.replicas):
        mine = outcome.replica == replica
        present += covered(outcome.arrived_at[mine], outcome.finished_at[mine])
    require(
        math.isclose(outcome.busy_s, present, rel_tol=SLACK, abs_tol=SLACK_S),
        "no replica idles while work waits",
        f"busy {outcome.busy_s} s of {present} s",
    )


def covered(begins: Floats, ends: Floats) -> float:
    """Returns the length of the union of intervals."""
    total, reach = 0.0, -math.inf
    for begin, end in sorted(zip(begins.tolist(), ends.tolist(), strict=True)):
        total += max(end - max(begin, reach), 0.0)
        reach = max(reach, end)
    return total


# Information


def future_is_unknown(one: Outcome, other: Outcome, changed: int, asynchronous: bool, slack_s: float = 0.0) -> None:
    """Two runs that differ in the output length of request `changed` are the same until the shorter one of it shows.

    That is when its last token comes; the asynchronous engine knows a step before, at the last token but one.
    """
    shorter = min(one, other, key=lambda outcome: int(outcome.output_tokens[changed]))
    shows_at = float(shorter.finished_at[changed])
    if asynchronous:
        shows_at -= float(shorter.itl_max[changed])
    shows_at -= SLACK_S
    for name in TIMES:
        a, b = getattr(one, name), getattr(other, name)
        before = (a < shows_at) | (b < shows_at)
        wrong = np.flatnonzero(before & ~(np.abs(a - b) <= slack_s))
        require(len(wrong) == 0, "a policy cannot see output lengths", f"{name} of {wrong[:5]} before {shows_at} s")


# Agreement


def same_bytes(one: bytes | str, other: bytes | str) -> None:
    """The same seed gives the same bytes."""
    require(one == other, "the same seed gives the same bytes")


def runs_are_equal(one: Outcome, other: Outcome) -> None:
    """Two engines give every request and every bin the same values, to the bit; sums over the run, to rounding."""
    for name in (*TIMES, "itl_max", "preemptions", "replica", "rejected", "gap_count"):
        a, b = getattr(one, name), getattr(other, name)
        require(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), "engines agree to the bit", name)
    _same_totals(one, other, SLACK)


def runs_agree(one: Outcome, other: Outcome, block_seconds: float = SLACK) -> None:
    """Two engines give every request the same times but for rounding, and the same counts.

    `block_seconds` is how far apart, as a share, the integrals of held blocks may be.
    """
    for name in (*TIMES, "itl_max"):
        a, b = getattr(one, name), getattr(other, name)
        apart = np.nanmax(np.abs(a - b), initial=0.0)
        same = np.allclose(a, b, rtol=SLACK, atol=SLACK_S, equal_nan=True)
        require(same, "engines agree", f"{name} {apart:.3g} s apart")
    for name in ("preemptions", "replica", "rejected"):
        require(np.array_equal(getattr(one, name), getattr(other, name)), "engines agree", name)
    require(one.gap_count.sum() == other.gap_count.sum(), "engines agree", "number of gaps")
    _same_totals(one, other, block_seconds)


def _same_totals(one: Outcome, other: Outcome, block_seconds: float) -> None:
    for name in TOTALS:
        require(getattr(one, name) == getattr(other, name), "engines agree", name)
    sums = (
        ("busy_s", one.busy_s, other.busy_s, SLACK),
        ("gap_sum", one.gap_sum.sum(), other.gap_sum.sum(), SLACK),
        ("block_seconds", one.block_seconds, other.block_seconds, block_seconds),
    )
    for name, a, b, share in sums:
        require(math.isclose(a, b, rel_tol=share, abs_tol=SLACK_S), "engines agree", f"{name}: {a} and {b}")


# Statistics


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
        require(abs(value - expected) <= BIN_WIDTH * expected, "gaps are exact to 0.05 %", f"p{percent} {value} for {expected}")
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


def all_of_one_run(outcome: Outcome, limits: Any, free_blocks: Iterable[int], by_priority: bool = False) -> None:
    """The laws that any run keeps."""
    requests_are_conserved(outcome)
    blocks_are_conserved(free_blocks, outcome.kv_blocks)
    limits_are_kept(outcome, limits)
    time_goes_forward(outcome)
    work_is_conserved(outcome)
    if not by_priority:
        nobody_overtakes(outcome)
