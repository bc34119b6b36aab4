"""The laws that every run keeps, each as a function that raises Broken; docs/invariants.md lists them.

They read an Outcome, so that they hold a compiled run, the oracle's and a real engine's to the same. `agreement` has those
of two runs, `step_laws` those of a log of steps, `measure_laws` those of what is measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.content import Content
from simulator.outcome import Outcome
from simulator.traffic import Traffic

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
# Times are sums of many steps, each rounded.
SLACK_S = 1e-9
SLACK = 1e-9
TIMES = ("first_scheduled_at", "first_token_at", "finished_at")
# Policies whose steps hold as many whole prompts as there are seats.
WITHOUT_BUDGET = ("orca", "faster_transformer")


class Broken(AssertionError):
    """A law does not hold."""


def require(holds: object, law: str, detail: object = "") -> None:
    """Raises Broken with the law's words unless it holds."""
    if not holds:
        raise Broken(f"{law}: {detail}" if detail != "" else law)


# Conservation


def served(outcome: Outcome) -> Flags:
    """Returns which requests were neither refused nor dropped."""
    return ~(outcome.rejected | outcome.cancelled | outcome.expired)


def requests_are_conserved(outcome: Outcome, may_find_more: bool = False) -> None:
    """Every request is served whole, rejected and untouched, or dropped; every token is sampled once, every gap counted once.

    `may_find_more`: a preempted request may come back to find blocks of others, with tokens that nobody computed for it.
    """
    whole, dropped = served(outcome), outcome.cancelled | outcome.expired
    for name in TIMES:
        times = getattr(outcome, name)
        require(np.isfinite(times[whole]).all(), "every accepted request is served", f"{name} is missing")
        require(np.isnan(times[outcome.rejected]).all(), "a rejected request is left alone", name)
    require(np.isnan(outcome.finished_at[dropped]).all(), "a dropped request has no end")
    require((outcome.replica[whole] >= 0).all(), "every accepted request has a replica, a rejected one has none")
    require((outcome.replica[outcome.rejected] < 0).all(), "every accepted request has a replica, a rejected one has none")
    require(not (outcome.cancelled & outcome.expired).any(), "a request ends once")
    made = outcome.produced_tokens
    require((made[whole] == outcome.output_tokens[whole]).all(), "every accepted request is served", "tokens are missing")
    require((made[dropped] < outcome.output_tokens[dropped]).all(), "a dropped request was not finished")
    lost = outcome.sampled_tokens - int(made.sum())
    require(lost == 0 or (lost > 0 and dropped.any()), "every output token is sampled once", f"{lost} are lost")
    gaps = int(np.maximum(made - 1, 0).sum())
    require(int(outcome.gap_count.sum()) == gaps, "every gap is counted once", f"{outcome.gap_count.sum()} of {gaps}")
    if dropped.any() or (may_find_more and outcome.preemptions.any()):
        return
    least = int((outcome.prompt_tokens + outcome.output_tokens - 1 - outcome.cached_tokens)[whole].sum())
    recomputed = outcome.scheduled_tokens - least
    require(recomputed >= 0, "all but the last token is computed", f"{-recomputed} short")
    require(recomputed == 0 or outcome.preemptions.sum() > 0, "only a preemption computes anew", f"{recomputed} tokens")


def blocks_are_conserved(free_blocks: Iterable[int], total_blocks: int) -> None:
    """At the end every block of every replica is free again."""
    free = [int(count) for count in free_blocks]
    require(all(count == total_blocks for count in free), "blocks return", f"{free} of {total_blocks}")


def limits_are_kept(outcome: Outcome, limits: Any) -> None:
    """No step has more requests than seats or more tokens than the budget, no engine more blocks than the pool."""
    seats, tokens = (int(np.flatnonzero(counts).max(initial=0)) for counts in (outcome.batch_sizes, outcome.batch_tokens))
    require(seats <= limits.max_num_seqs, "seats bound a step", seats)
    if limits.scheduler not in WITHOUT_BUDGET:
        require(tokens <= limits.max_num_batched_tokens, "the budget bounds a step", tokens)
    require(outcome.kv_peak_blocks <= outcome.kv_blocks, "the pool bounds what is held", outcome.kv_peak_blocks)
    require(outcome.block_seconds >= -SLACK, "the pool bounds what is held", outcome.block_seconds)
    counted = int((outcome.batch_sizes * np.arange(len(outcome.batch_sizes))).sum())
    require(counted == outcome.scheduled_requests, "every step is counted once", counted)
    counted = int((outcome.batch_tokens * np.arange(len(outcome.batch_tokens))).sum())
    require(counted == outcome.scheduled_tokens, "every step is counted once", counted)


# Time


def time_goes_forward(outcome: Outcome) -> None:
    """Arrival, first scheduling, first token, finish: in this order; no gap is negative and all of them fill the decode."""
    whole = served(outcome)
    arrived, scheduled, first, finished = (getattr(outcome, name)[whole] for name in ("arrived_at", *TIMES))
    require((scheduled >= arrived).all(), "nobody is scheduled before arriving")
    require((first > scheduled).all(), "the first token takes a step")
    several = outcome.output_tokens[whole] > 1
    require((finished[several] > first[several]).all(), "every further token takes a step")
    require((finished[~several] == first[~several]).all(), "a single token is the first and the last")
    require((outcome.gap_sum >= 0).all(), "no token comes before the one before it")
    if whole.sum() == (~outcome.rejected).sum():
        total, spans = float(outcome.gap_sum.sum()), float((finished - first).sum())
        require(math.isclose(total, spans, rel_tol=SLACK, abs_tol=SLACK_S), "gaps fill the decode", f"{total} of {spans}")
    longest, tokens = outcome.itl_max[whole], outcome.output_tokens[whole]
    require((longest <= finished - first + SLACK_S).all(), "the longest gap lies within the decode")
    require((longest * (tokens - 1) >= finished - first - SLACK_S).all(), "the longest gap is at least their mean")
    waited, lived = outcome.preempted_s[whole], finished - scheduled
    require(((waited >= 0) & (waited <= lived)).all(), "who is preempted waits within its time")
    require((waited[outcome.preemptions[whole] == 0] == 0).all(), "only who is preempted waits again")
    require(((outcome.bubble_s[whole] >= 0) & (outcome.bubble_s[whole] <= lived + SLACK_S)).all(), "bubbles lie within a request")


def nobody_overtakes(outcome: Outcome) -> None:
    """First come, first served: at each engine requests are first scheduled in their order of arrival."""
    for replica in range(int(outcome.replica.max(initial=-1)) + 1):
        mine = np.flatnonzero((outcome.replica == replica) & np.isfinite(outcome.first_scheduled_at))
        order = mine[np.argsort(outcome.arrived_at[mine], kind="stable")]
        require((np.diff(outcome.first_scheduled_at[order]) >= 0).all(), "nobody overtakes", f"replica {replica}")


def dropped_leave_nothing(outcome: Outcome, traffic: Traffic) -> None:
    """A dropped request gets no token after its user or its operator dropped it, and nobody who has time is dropped."""
    dropped = outcome.cancelled | outcome.expired
    dropped_at = outcome.arrived_at + traffic.cancel_after_s
    require(np.isfinite(traffic.cancel_after_s[dropped]).all(), "only the impatient are dropped")
    require((outcome.expired[dropped] == traffic.expires[dropped]).all(), "a deadline is the operator's")
    for name in ("first_scheduled_at", "first_token_at"):
        late = getattr(outcome, name)[dropped] > dropped_at[dropped] + SLACK_S
        require(not late.any(), "nothing happens to who was dropped", name)
    whole = served(outcome)
    require((outcome.finished_at[whole] <= dropped_at[whole] + SLACK_S).all(), "who takes too long is dropped")


def followers_wait(outcome: Outcome, traffic: Traffic) -> None:
    """In a closed loop nobody arrives before the one it follows has ended, so there are never more users than sessions."""
    follows = np.flatnonzero(traffic.after >= 0)
    before = traffic.after[follows]
    ended = np.where(
        outcome.rejected[before],
        outcome.arrived_at[before],
        np.where(served(outcome)[before], outcome.finished_at[before], (outcome.arrived_at + traffic.cancel_after_s)[before]),
    )
    expected = ended + traffic.think_s[follows]
    right = np.allclose(outcome.arrived_at[follows], expected, rtol=SLACK, atol=SLACK_S)
    require(right, "who follows another waits for its end")


def hits_are_shared_prefixes(outcome: Outcome, traffic: Traffic, block_size: int) -> None:
    """What a request finds at first is whole blocks, not its last token, that another one at its engine had before."""
    whole_blocks = (traffic.prompt_tokens - 1) // block_size * block_size
    require((outcome.cached_tokens <= whole_blocks).all(), "a token is left to compute")
    require((outcome.cached_tokens % block_size == 0).all(), "hits are whole blocks")
    content = traffic.content_for(block_size)
    for i in np.flatnonzero(outcome.cached_tokens > 0):
        require(content is not None, "without shared content nobody finds anything at first")
        if not isinstance(content, Content):
            continue
        found = content.of(int(i))[: outcome.cached_tokens[i] // block_size]
        there = (outcome.replica == outcome.replica[i]) & (outcome.first_scheduled_at <= outcome.first_scheduled_at[i])
        others = set(np.concatenate([content.of(int(j)) for j in np.flatnonzero(there) if j != i] or [found[:0]]).tolist())
        require(set(found.tolist()) <= others, "hits are the blocks of others", f"request {i}")


def work_is_conserved(outcome: Outcome) -> None:
    """No replica idles while a request of its own is unfinished: busy time is the time in which somebody is there."""
    present = 0.0
    for replica in range(outcome.replicas):
        mine = outcome.replica == replica
        require(np.isfinite(outcome.finished_at[mine]).all(), "every accepted request is served")
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


# All of them


def all_of_one_run(outcome: Outcome, limits: Any, free_blocks: Iterable[int], by_priority: bool = False) -> None:
    """The laws that any run of requests that nobody drops keeps, on engines without pipeline, group, or queues around them."""
    requests_are_conserved(outcome)
    blocks_are_conserved(free_blocks, outcome.kv_blocks)
    limits_are_kept(outcome, limits)
    time_goes_forward(outcome)
    work_is_conserved(outcome)
    if not by_priority:
        nobody_overtakes(outcome)


def all_of_any_run(outcome: Outcome, limits: Any, free_blocks: Iterable[int], traffic: Traffic) -> None:
    """The laws that every run keeps; time as the engine sees it where tokens are seen when their step ends."""
    requests_are_conserved(outcome, may_find_more=traffic.content is not None)
    blocks_are_conserved(free_blocks, outcome.kv_blocks)
    limits_are_kept(outcome, limits)
    time_goes_forward(outcome)
    if not limits.by_priority:
        nobody_overtakes(outcome)
    if not limits.detokenize_s_per_token:
        dropped_leave_nothing(outcome, traffic)
        followers_wait(outcome, traffic)
    hits_are_shared_prefixes(outcome, traffic, limits.block_size)
