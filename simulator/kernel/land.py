"""A step lands: its tokens are handed out, gaps are counted, and finished requests let go of seats and blocks."""

from __future__ import annotations

from typing import Any

from simulator.kernel import peaks
from simulator.kernel.blocks import blocks_for, release
from simulator.kernel.gaps import bin_of
from simulator.kernel.jit import inner, merged
from simulator.kernel.records import FINISHED, NOBODY, RUNNING
from simulator.kernel.waiting import unlink


@merged
def land(world: Any, r: int) -> None:
    """Hands out the tokens of the oldest step in flight."""
    replica = world.replicas[r]
    flight = world.flights[r, replica.oldest]
    left = land_named(world, r)
    if flight.decodes > 0:
        gap = flight.end_at - replica.landed_at
        place = bin_of(gap)
        world.gaps[place].count += flight.decodes
        world.gaps[place].sum_s += gap * flight.decodes
        peaks.push(world, r, flight.step, gap)
        finish_counted(world, r, flight.step, flight.end_at)
    replica.landed_at = flight.end_at
    replica.oldest = replica.oldest + 1 if replica.oldest + 1 < world.config[0].steps_in_flight else 0
    replica.in_flight -= 1
    if left > 0 and not replica.counting:
        compact(world, r, replica.num_running)


@merged
def land_named(world: Any, r: int) -> int:
    """Hands out the tokens of requests that the flight names; returns how many left the running list."""
    replica = world.replicas[r]
    flight = world.flights[r, replica.oldest]
    left = 0
    last_gap, last_bin = -1.0, 0
    for k in range(flight.count):
        i = world.flight_ids[r, replica.oldest, k]
        outcome = world.outcomes[i]
        outcome.in_flight -= 1
        outcome.produced += 1
        if outcome.produced == 1:
            outcome.first_token_at = flight.end_at
        else:
            gap = flight.end_at - outcome.last_token_at
            if gap != last_gap:
                last_gap, last_bin = gap, bin_of(gap)
            world.gaps[last_bin].count += 1
            world.gaps[last_bin].sum_s += gap
            if gap > outcome.itl_max:
                outcome.itl_max = gap
        outcome.last_token_at = flight.end_at
        if outcome.produced == outcome.output_tokens:
            left += finish_named(world, r, i)
    return left


@merged
def finish_named(world: Any, r: int, i: int) -> int:
    """Ends request `i`; returns 1 when it leaves a gap in the running list, 0 when it ended in the queue."""
    request, replica = world.requests[i], world.replicas[r]
    release(replica, request)
    was_running = request.status == RUNNING
    if not was_running:
        unlink(replica, world.requests, i)
    elif replica.counting:
        replica.num_running -= 1
    request.status = FINISHED
    return 1 if was_running else 0


@inner
def finish_counted(world: Any, r: int, step: int, end_at: float) -> None:
    """Ends the requests that got their last token in a step, as the counters foretold."""
    replica = world.replicas[r]
    place = step & (world.ends.shape[1] - 1)
    i = world.ends[r, place]
    while i != NOBODY:
        request, outcome = world.requests[i], world.outcomes[i]
        replica.free_blocks += blocks_for(request.computed_tokens + step - request.born, world.config[0].block_size)
        request.blocks = 0
        request.status = FINISHED
        replica.num_running -= 1
        outcome.produced = outcome.output_tokens
        outcome.last_token_at = end_at
        outcome.itl_max = max(outcome.itl_max, peaks.largest_since(world, r, request.born + 1))
        i = request.next
    world.ends[r, place] = NOBODY


@inner
def compact(world: Any, r: int, listed: int) -> None:
    """Closes the gaps that finished requests left in the running list, keeping its order."""
    replica = world.replicas[r]
    kept = 0
    for k in range(listed):
        i = world.running[r, k]
        if world.requests[i].status == RUNNING:
            world.running[r, kept] = i
            kept += 1
    replica.num_running = kept
    replica.listed = kept
