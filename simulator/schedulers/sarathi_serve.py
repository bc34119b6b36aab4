"""Sarathi-Serve's stall-free batching (arXiv 2403.02310, algorithm 3): decodes, then chunks, then admissions.

Every decode takes part in every step; part-done prompts and then new ones share what is left of the token budget. A
prompt's blocks are all taken at its admission, which leaves 1 % of the pool free.
"""

from __future__ import annotations

from typing import Any

from simulator.kernel.blocks import admit, blocks_for, grow, preempt
from simulator.kernel.jit import inner, kernel
from simulator.kernel.records import NOBODY, SCHEDULE, Record

WATERMARK = 0.01
COUNTABLE = True
CACHES = False
CHUNKS = True
RESERVES = False
OWN_MICRO_BATCH = True
WHOLE_PROMPT = True


@kernel(SCHEDULE)
def schedule(config: Record, replica: Record, requests: Any, running: Any, cache: Any) -> None:
    """Decides one step."""
    used = continue_decodes(config, replica, requests, running, cache)
    used = continue_prompts(config, replica, requests, running, used)
    admit_waiting(config, replica, requests, running, cache, used)


@inner
def continue_decodes(config: Record, replica: Record, requests: Any, running: Any, cache: Any) -> int:
    """Gives every decode one token, preempting the last running request while blocks lack; returns the tokens used."""
    used = 0
    place = 0
    while place < replica.num_running:
        request = requests[running[place]]
        if request.decoding and not request.exhausted:
            while place < replica.num_running and not grow(config, replica, request, cache, request.computed_tokens + 1):
                used -= preempt(config, replica, requests, running, cache, replica.num_running - 1)
            if place < replica.num_running:
                request.scheduled_tokens = 1
                used += 1
        place += 1
    return used


@inner
def continue_prompts(config: Record, replica: Record, requests: Any, running: Any, used: int) -> int:
    """Gives part-done prompts what the budget leaves, the oldest first; returns the tokens used."""
    for place in range(replica.num_running):
        request = requests[running[place]]
        if not request.decoding and not request.exhausted:
            tokens = min(request.known_tokens - request.computed_tokens, config.max_num_batched_tokens - used)
            if tokens > 0:
                request.scheduled_tokens = tokens
                used += tokens
    return used


@inner
def admit_waiting(config: Record, replica: Record, requests: Any, running: Any, cache: Any, used: int) -> None:
    """Admits from the head of the queue while budget, seats and the blocks of whole prompts are there."""
    while replica.waiting_head != NOBODY and replica.num_running < config.max_num_seqs:
        i = replica.waiting_head
        request = requests[i]
        tokens = min(request.known_tokens, config.max_num_batched_tokens - used)
        need = blocks_for(request.known_tokens, config.block_size)
        if tokens <= 0 or request.exhausted or replica.free_blocks - need < config.watermark_blocks:
            return
        admit(replica, requests, running, i)
        grow(config, replica, request, cache, request.known_tokens)
        request.scheduled_tokens = tokens
        used += tokens
