"""Steps decided from counters: O(1) each, for policies under which every decode takes part in every step.

A running decode advances by one token a step, so its KV length, its last token and its next block follow from the
number of the step. What cannot be told from counters (preemption) is decided by the policy itself, on the records:
`to_records` and `to_counters` go back and forth, and no time depends on which of the two decided a step.
"""

from __future__ import annotations

from typing import Any

from simulator.kernel import peaks
from simulator.kernel.blocks import blocks_for
from simulator.kernel.jit import inner, merged
from simulator.kernel.land import compact
from simulator.kernel.records import NOBODY, RUNNING
from simulator.kernel.step import begin, give
from simulator.kernel.waiting import unlink


@merged
def decide(world: Any, r: int, now: float) -> bool:
    """Decides a step; returns False, having changed nothing, when too few blocks are free and somebody must go."""
    config, replica = world.config[0], world.replicas[r]
    chunk, chunk_blocks = 0, 0
    if replica.partial != NOBODY:
        request = world.requests[replica.partial]
        chunk = min(request.known_tokens - request.computed_tokens, config.max_num_batched_tokens - replica.decodes)
        if not config.whole_prompt:
            chunk_blocks = blocks_for(request.computed_tokens + chunk, config.block_size) - request.blocks
    need = world.due[r, replica.phase] + chunk_blocks
    if need > replica.free_blocks:
        return False
    replica.free_blocks -= need
    begin(world)
    step = world.step[0]
    step.scheduled = step.tokens = step.decodes = step.sampled = replica.decodes
    step.kv_sum = replica.kv_sum + replica.decodes
    if replica.partial != NOBODY:
        world.requests[replica.partial].blocks += chunk_blocks
        give(world, r, replica.partial, chunk, now)
        if world.requests[replica.partial].decoding:
            replica.partial = NOBODY
    if replica.waiting_head != NOBODY:
        admit_waiting(world, r, now)
    return True


@merged
def admit_waiting(world: Any, r: int, now: float) -> None:
    """Admits from the head of the queue until the budget, the seats or the blocks end."""
    config, replica, step = world.config[0], world.replicas[r], world.step[0]
    while (
        step.tokens < config.max_num_batched_tokens and replica.waiting_head != NOBODY and replica.num_running < config.max_num_seqs
    ):
        i = replica.waiting_head
        request = world.requests[i]
        tokens = min(request.known_tokens, config.max_num_batched_tokens - step.tokens)
        taken = request.known_tokens if config.whole_prompt else tokens
        must_fit = request.known_tokens if config.reserve_full_isl else taken
        if request.exhausted or blocks_for(must_fit, config.block_size) > replica.free_blocks - config.watermark_blocks:
            return
        seat(world, r, i)
        request.blocks = blocks_for(taken, config.block_size)
        replica.free_blocks -= request.blocks
        give(world, r, i, tokens, now)
        if not request.decoding:
            replica.partial = i


@merged
def seat(world: Any, r: int, i: int) -> None:
    """Moves a waiting request to the end of the running list, which may hold finished ones."""
    replica = world.replicas[r]
    unlink(replica, world.requests, i)
    if replica.listed == world.running.shape[1]:
        compact(world, r, replica.listed)
    world.requests[i].status = RUNNING
    world.requests[i].decoding = 0
    world.running[r, replica.listed] = i
    replica.listed += 1
    replica.num_running += 1


@merged
def settle(world: Any, r: int, flight: int, step: int) -> None:
    """Brings the counters past a launched step: decodes advance, the last ones stop, those who sampled join."""
    config, replica = world.config[0], world.replicas[r]
    replica.kv_sum += replica.decodes
    i = world.ends[r, step & (world.ends.shape[1] - 1)]
    while i != NOBODY:
        request = world.requests[i]
        request.exhausted = 1
        replica.decodes -= 1
        replica.kv_sum -= request.computed_tokens + step - request.born
        world.due[r, due_phase(request.computed_tokens, request.born, config.block_size)] -= 1
        i = request.next
    for k in range(world.flights[r, flight].count):
        i = world.flight_ids[r, flight, k]
        if not world.requests[i].exhausted:
            bear(world, r, i, step)


@merged
def due_phase(computed: int, born: int, block_size: int) -> int:
    """Returns the step, modulo the block size, in which a decode born so needs a block: when its last one is full."""
    return int((1 + born - computed) % block_size)


@merged
def bear(world: Any, r: int, i: int, step: int) -> None:
    """Counts request `i`, which sampled in `step`, among the decodes."""
    replica, request, outcome = world.replicas[r], world.requests[i], world.outcomes[i]
    request.born = step
    request.sampled_at_birth = outcome.produced + outcome.in_flight
    place = (step + outcome.output_tokens - request.sampled_at_birth) & (world.ends.shape[1] - 1)
    request.next = world.ends[r, place]
    world.ends[r, place] = i
    replica.decodes += 1
    replica.kv_sum += request.computed_tokens
    world.due[r, due_phase(request.computed_tokens, step, world.config[0].block_size)] += 1


@inner
def to_records(world: Any, r: int) -> None:
    """Writes what the counters know into the records, those of the flights included."""
    config, replica = world.config[0], world.replicas[r]
    compact(world, r, replica.listed)
    decided = replica.iterations - 1
    landed = decided - replica.in_flight
    for k in range(replica.num_running):
        i = world.running[r, k]
        request, outcome = world.requests[i], world.outcomes[i]
        if request.born < 0:
            continue
        world.ends[r, (request.born + outcome.output_tokens - request.sampled_at_birth) & (world.ends.shape[1] - 1)] = NOBODY
        for age in range(replica.in_flight):
            place = replica.oldest + age
            place = place - config.steps_in_flight if place >= config.steps_in_flight else place
            flight = world.flights[r, place]
            if flight.step > request.born:
                world.flight_ids[r, place, flight.count] = i
                flight.count += 1
                flight.decodes -= 1
                outcome.in_flight += 1
        outcome.produced = request.sampled_at_birth + decided - request.born - outcome.in_flight
        if landed >= request.born:
            outcome.last_token_at = replica.landed_at
            outcome.itl_max = max(outcome.itl_max, peaks.largest_since(world, r, request.born + 1))
        request.computed_tokens += decided - request.born
        request.known_tokens = request.computed_tokens + 1
        request.blocks = blocks_for(request.computed_tokens, config.block_size)
        request.born = -1
    world.due[r, :] = 0
    replica.decodes = 0
    replica.kv_sum = 0
    replica.partial = NOBODY
    replica.counting = 0


@inner
def to_counters(world: Any, r: int, step: int) -> None:
    """Reads the counters off the records after a launched step; leaves the records in charge when they cannot tell."""
    replica = world.replicas[r]
    partials = 0
    for k in range(replica.num_running):
        request = world.requests[world.running[r, k]]
        if not request.decoding and not request.exhausted:
            partials += 1
    if partials > 1:
        return
    for k in range(replica.num_running):
        i = world.running[r, k]
        request = world.requests[i]
        if request.exhausted:
            continue
        if request.decoding:
            bear(world, r, i, step)
        else:
            replica.partial = i
    replica.listed = replica.num_running
    replica.counting = 1
