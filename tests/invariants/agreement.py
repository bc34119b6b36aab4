"""Laws of two runs: what may not differ when only the future does, and what two engines have to agree on."""

from __future__ import annotations

import math

import numpy as np

from simulator.outcome import Outcome
from tests.invariants.laws import SLACK, SLACK_S, TIMES, require

SECONDS = ("arrived_at", "itl_max", "preempted_s", "bubble_s")
COUNTS = ("preemptions", "replica", "rejected", "cancelled", "expired", "produced_tokens", "cached_tokens")
TOTALS = ("iterations", "scheduled_requests", "scheduled_tokens", "sampled_tokens", "kv_tokens", "kv_peak_blocks")


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


def same_bytes(one: bytes | str, other: bytes | str) -> None:
    """The same seed gives the same bytes."""
    require(one == other, "the same seed gives the same bytes")


def runs_are_equal(one: Outcome, other: Outcome) -> None:
    """Two engines give every request and every bin the same values, to the bit; sums over the run, to rounding."""
    for name in (*TIMES, *SECONDS, *COUNTS, "gap_count"):
        a, b = getattr(one, name), getattr(other, name)
        require(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), "engines agree to the bit", name)
    _same_totals(one, other, SLACK)


def runs_agree(one: Outcome, other: Outcome, block_seconds: float = SLACK) -> None:
    """Two engines give every request the same times but for rounding, and the same counts.

    `block_seconds` is how far apart, as a share, the integrals of held blocks may be.
    """
    for name in (*TIMES, *SECONDS):
        a, b = getattr(one, name), getattr(other, name)
        apart = np.nanmax(np.abs(a - b), initial=0.0)
        same = np.allclose(a, b, rtol=SLACK, atol=SLACK_S, equal_nan=True)
        require(same, "engines agree", f"{name} {apart:.3g} s apart")
    for name in COUNTS:
        require(np.array_equal(getattr(one, name), getattr(other, name)), "engines agree", name)
    require(one.gap_count.sum() == other.gap_count.sum(), "engines agree", "number of gaps")
    _same_totals(one, other, block_seconds)


def _same_totals(one: Outcome, other: Outcome, block_seconds: float) -> None:
    for name in TOTALS:
        require(getattr(one, name) == getattr(other, name), "engines agree", name)
    for name in ("batch_sizes", "batch_tokens"):
        a, b = (np.trim_zeros(getattr(outcome, name), "b") for outcome in (one, other))
        require(np.array_equal(a, b), "engines agree", name)
    require(np.allclose(one.stage_busy_s, other.stage_busy_s, rtol=SLACK, atol=SLACK_S), "engines agree", "stage_busy_s")
    sums = (
        ("busy_s", one.busy_s, other.busy_s, SLACK),
        ("gap_sum", one.gap_sum.sum(), other.gap_sum.sum(), SLACK),
        ("block_seconds", one.block_seconds, other.block_seconds, block_seconds),
    )
    for name, a, b, share in sums:
        require(math.isclose(a, b, rel_tol=share, abs_tol=SLACK_S), "engines agree", f"{name}: {a} and {b}")
