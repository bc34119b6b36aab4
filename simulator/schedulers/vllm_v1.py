"""vLLM's V1 scheduler: one token budget a step, running requests first in their order, then the queue.

Rules as vLLM 0.19.0 decides: blocks are taken per chunk, admission checks that the whole known sequence fits now,
preemption recomputes, and nobody is admitted in a step that preempted.
"""

from __future__ import annotations

from typing import Any

from simulator.kernel.blocks import admit, blocks_for, grow, preempt
from simulator.kernel.jit import inner, kernel
from simulator.kernel.prefix import claim, found, held_by_others
from simulator.kernel.records import NOBODY, SCHEDULE, Record

WATERMARK = 0.0
COUNTABLE = True
CACHES = True
CHUNKS = True
RESERVES = False
OWN_MICRO_BATCH = False
WHOLE_PROMPT = False
KNOBS = ("long_prefill_token_threshold", "scheduler_reserve_full_isl", "scheduling_policy")


@kernel(SCHEDULE)
def schedule(config: Record, replica: Record, requests: Any, running: Any, cache: Any) -> None:
    """Decides one step."""
    budget = continue_running(config, replica, requests, running, cache)
    if replica.preempted_now == 0:
        admit_waiting(config, replica, requests, running, cache, budget)


@inner
def continue_running(config: Record, replica: Record, requests: Any, running: Any, cache: Any) -> int:
    """Gives running requests their tokens, preempting where blocks lack; returns the budget that is left."""
    budget = config.max_num_batched_tokens
    place = 0
    while place < replica.num_running and budget > 0:
        request = requests[running[place]]
        tokens = chunk(config, request, request.computed_tokens, budget)
        if tokens == 0:
            place += 1
            continue
        fits = grow(config, replica, request, cache, request.computed_tokens + tokens)
        while not fits:
            victim = victim_of(config, replica, requests, running)
            given = preempt(config, replica, requests, running, cache, victim)
            budget += given
            if victim == place:
                return int(budget)
            # Like vLLM: one in front that took no part does not move the place, so that the next in line is passed over.
            if given > 0:
                place -= 1
            fits = grow(config, replica, request, cache, request.computed_tokens + tokens)
        request.scheduled_tokens = tokens
        budget -= tokens
        place += 1
    return int(budget)


@inner
def admit_waiting(config: Record, replica: Record, requests: Any, running: Any, cache: Any, budget: int) -> None:
    """Admits from the head of the queue until the budget, the seats or the blocks end; nobody overtakes."""
    while budget > 0 and replica.waiting_head != NOBODY and replica.num_running < config.max_num_seqs:
        i = replica.waiting_head
        request = requests[i]
        hit = found(config, replica, request, cache)
        begun = hit * config.block_size
        tokens = chunk(config, request, begun, budget)
        must_fit = request.known_tokens if config.reserve_full_isl else begun + tokens
        need = blocks_for(must_fit, config.block_size) - held_by_others(config, replica, request, cache, hit)
        if tokens == 0 or need > replica.free_blocks:
            return
        admit(replica, requests, running, i)
        claim(config, replica, requests, i, cache, hit)
        grow(config, replica, request, cache, begun + tokens)
        request.scheduled_tokens = tokens
        budget -= tokens


@inner
def chunk(config: Record, request: Record, begun: int, budget: int) -> int:
    """Returns the tokens that a request is owed after so many, within the long-prompt threshold and the budget."""
    if request.exhausted or (request.in_flight > 0 and not config.blind):
        return 0
    tokens = request.known_tokens - begun
    if 0 < config.long_prefill_token_threshold < tokens:
        tokens = config.long_prefill_token_threshold
    return int(min(tokens, budget))


@inner
def victim_of(config: Record, replica: Record, requests: Any, running: Any) -> int:
    """Returns the place of the request to preempt: the last one, or the least urgent, latest one by priority."""
    last = replica.num_running - 1
    if not config.by_priority:
        return int(last)
    worst = 0
    for place in range(1, last + 1):
        one, other = requests[running[place]], requests[running[worst]]
        if one.priority > other.priority or (one.priority == other.priority and one.arrived_at > other.arrived_at):
            worst = place
    return worst
