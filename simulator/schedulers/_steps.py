"""What the policies that Vidur restates share: whom a step may touch, and how decodes go on.

A request with a token in flight is left alone, so that a pipeline's micro-batches stay apart; a step holds at most
`micro_batch_seqs` requests; `running` is in order of arrival, and the last one that is not in flight is preempted.
"""

from __future__ import annotations

from typing import Any

from simulator.kernel.blocks import flying, grow, preempt
from simulator.kernel.jit import inner
from simulator.kernel.records import Record


@inner
def settled(config: Record, replica: Record, request: Record) -> bool:
    """Returns whether a step may touch the request: nothing of it is in flight, or the engine goes on blindly."""
    return bool(config.blind or not flying(replica, request))


@inner
def last_settled(config: Record, replica: Record, requests: Any, running: Any) -> int:
    """Returns the last place in the running list whose request may be touched, -1 when there is none."""
    place = replica.num_running - 1
    while place >= 0 and not settled(config, replica, requests[running[place]]):
        place -= 1
    return int(place)


@inner
def next_token_fits(config: Record, replica: Record, request: Record, cache: Any, spare: int) -> bool:
    """Gives the request the block of its next token; with `spare`, only where some block is free even if it needs none."""
    return bool((spare == 0 or replica.free_blocks > 0) and grow(config, replica, request, cache, request.computed_tokens + 1))


@inner
def continue_decodes(config: Record, replica: Record, requests: Any, running: Any, cache: Any, spare: int) -> int:
    """Gives decodes one token each in order of arrival, preempting from the end while blocks lack; returns how many."""
    count = 0
    place = 0
    while place < replica.num_running and count < config.micro_batch_seqs:
        request = requests[running[place]]
        if not request.decoding or request.exhausted or not settled(config, replica, request):
            place += 1
            continue
        fits = next_token_fits(config, replica, request, cache, spare)
        victim = replica.num_running
        while not fits and victim != place:
            victim = last_settled(config, replica, requests, running)
            count -= preempt(config, replica, requests, running, cache, victim)
            fits = victim != place and next_token_fits(config, replica, request, cache, spare)
        # One that had to go itself leaves its place to the next in line.
        if fits:
            request.scheduled_tokens = 1
            count += 1
            place += 1
    return count


@inner
def reserved_seats(config: Record, replica: Record, slot_blocks: int) -> int:
    """Returns how many requests a step may hold when each takes a slot of so many blocks: slots are shared by the stages."""
    return int(min(config.micro_batch_seqs, max(replica.total_blocks // slot_blocks // config.pipeline_stages, 1)))
