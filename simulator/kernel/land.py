"""A step lands: its tokens are handed out, gaps are counted, and finished requests let go of seats and blocks."""

from __future__ import annotations

from typing import Any

from simulator.kernel import journal, peaks, prefix
from simulator.kernel.blocks import filled, release, stand_up
from simulator.kernel.events import ended
from simulator.kernel.gaps import bin_of
from simulator.kernel.jit import inner, merged
from simulator.kernel.records import CANCELLED, FINISHED, NOBODY, RUNNING
from simulator.kernel.waiting import unlink


@merged
def land(world: Any, r: int) -> None:
    """Hands out the tokens of the oldest step in flight."""
    config, replica = world.config[0], world.replicas[r]
    flight = world.flights[r, replica.oldest]
    g = r * config.pipeline_stages + flight.lane
    lane = world.lanes[g]
    seen_at = flight.end_at
    if config.detokenize_s > 0:
        seen_at = max(seen_at, replica.seen_free_at) + (flight.count + flight.decodes) * config.detokenize_s
        replica.seen_free_at = seen_at
    left = land_named(world, r, seen_at)
    if flight.decodes > 0:
        count_gap(world, seen_at - lane.landed_at, flight.decodes)
        peaks.push(world, g, flight.step, seen_at - lane.landed_at)
        finish_counted(world, r, g, flight.step, seen_at)
    lane.landed_at = seen_at
    lane.in_flight -= 1
    replica.lane = flight.lane
    replica.oldest = replica.oldest + 1 if replica.oldest + 1 < config.steps_in_flight else 0
    replica.in_flight -= 1
    if left > 0 and not replica.counting:
        compact(world, r, replica.num_running)


@merged
def count_gap(world: Any, gap: float, tokens: int) -> None:
    """Counts an inter-token gap of so many tokens."""
    place = bin_of(gap)
    world.tallies[place].count += tokens
    world.tallies[place].sum_s += gap * tokens
    if gap > world.config[0].stop_itl_s:
        world.clock[0].late_itl += tokens


@merged
def land_named(world: Any, r: int, seen_at: float) -> int:
    """Hands out the tokens of requests that the flight names; returns how many left the running list."""
    config, replica = world.config[0], world.replicas[r]
    flight = world.flights[r, replica.oldest]
    left = 0
    last_gap, last_bin = -1.0, 0
    for k in range(flight.count):
        i = world.running[r, (3 + replica.oldest) * replica.seats + k]
        outcome, request = world.outcomes[i], world.requests[i]
        if request.status == CANCELLED:
            continue
        request.in_flight -= 1
        if not config.blind:
            request.known_tokens += 1
        elif config.prefix_caching and request.status == RUNNING:
            prefix.enter(config, replica, request, world.cache, request.computed_tokens - request.in_flight)
        outcome.produced += 1
        if outcome.produced == 1:
            outcome.first_token_at = seen_at
            world.clock[0].first_tokens += 1
            if seen_at - request.arrived_at > config.stop_ttft_s:
                world.clock[0].late_ttft += 1
        else:
            gap = seen_at - outcome.last_token_at
            if gap != last_gap:
                last_gap, last_bin = gap, bin_of(gap)
            world.tallies[last_bin].count += 1
            world.tallies[last_bin].sum_s += gap
            if gap > outcome.itl_max:
                outcome.itl_max = gap
            if gap > config.stop_itl_s:
                world.clock[0].late_itl += 1
        outcome.last_token_at = seen_at
        if outcome.produced == outcome.output_tokens:
            left += finish_named(world, r, i, seen_at)
            if config.recording:
                journal.note(world, journal.FINISHED, flight.entry, i, 0)
    return left


@merged
def finish_named(world: Any, r: int, i: int, seen_at: float) -> int:
    """Ends request `i`; returns 1 when it leaves a gap in the running list, 0 when it ended in the queue."""
    request, replica = world.requests[i], world.replicas[r]
    was_running = request.status == RUNNING
    if was_running:
        release(world.config[0], replica, request, world.cache)
        stand_up(replica, request, world.running[r])
        if replica.counting:
            replica.num_running -= 1
    else:
        unlink(replica, world.requests, i)
    request.status = FINISHED
    ended(world, i, seen_at)
    return 1 if was_running else 0


@merged
def finish_counted(world: Any, r: int, g: int, step: int, seen_at: float) -> None:
    """Ends the requests that got their last token in a step, as the counters foretold."""
    replica = world.replicas[r]
    place = step & (world.config[0].ring - 1)
    i = world.rings[g, place]
    while i != NOBODY:
        request, outcome = world.requests[i], world.outcomes[i]
        blocks = filled(world.config[0], request.computed_tokens + step - request.born)
        replica.free_blocks += blocks
        replica.freed_blocks += blocks
        request.blocks = 0
        request.status = FINISHED
        replica.num_running -= 1
        outcome.produced = outcome.output_tokens
        outcome.last_token_at = seen_at
        outcome.itl_max = max(outcome.itl_max, peaks.largest_since(world, g, request.born + 1))
        ended(world, i, seen_at)
        i = request.next
    world.rings[g, place] = NOBODY


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
