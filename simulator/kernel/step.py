"""The step that is being decided: who takes part, its summary, its price, and the tokens that it puts in flight."""

from __future__ import annotations

import math
from typing import Any

from simulator.kernel.jit import merged
from simulator.kernel.pricing import chunk_seconds, step_seconds

OUT_OF_TABLE = -1.0


@merged
def begin(world: Any) -> None:
    """Empties the summary."""
    step = world.step[0]
    step.chunks_s = 0.0
    step.scheduled = 0
    step.tokens = 0
    step.chunks = 0
    step.decodes = 0
    step.kv_sum = 0
    step.sampled = 0
    step.named = 0


@merged
def give(world: Any, r: int, i: int, tokens: int, now: float) -> None:
    """Moves request `i` on by `tokens`, and lets it sample when it has caught up with what is known of it."""
    request, step = world.requests[i], world.step[0]
    before = request.computed_tokens
    if before == 0 and math.isnan(request.first_scheduled_at):
        request.first_scheduled_at = now
    step.scheduled += 1
    step.tokens += tokens
    if tokens == 1:
        step.decodes += 1
        step.kv_sum += before + 1
    else:
        step.chunks += 1
        # A chunk beyond the price list has no place to be read from; `price` refuses the step.
        if tokens < world.prices.at[0].tokens:
            step.chunks_s += chunk_seconds(world.prices, tokens, before)
    request.computed_tokens = before + tokens
    if request.computed_tokens == request.known_tokens:
        sample(world, i)
        world.flight_ids[r, next_flight(world, r), step.named] = i
        step.sampled += 1
        step.named += 1


@merged
def sample(world: Any, i: int) -> None:
    """Puts the next token of request `i` in flight."""
    request, outcome = world.requests[i], world.outcomes[i]
    request.known_tokens += 1
    request.decoding = 1
    outcome.in_flight += 1
    if outcome.produced + outcome.in_flight == outcome.output_tokens:
        request.exhausted = 1


@merged
def next_flight(world: Any, r: int) -> int:
    """Returns the place of the flight that the step will be."""
    replica = world.replicas[r]
    place = replica.oldest + replica.in_flight
    depth = world.config[0].steps_in_flight
    return int(place - depth if place >= depth else place)


@merged
def price(world: Any) -> float:
    """Returns the step's seconds, 0 when nobody takes part, OUT_OF_TABLE when the price list is too small."""
    step, prices = world.step[0], world.prices
    if step.scheduled == 0:
        return 0.0
    if step.tokens >= prices.at[0].tokens or step.sampled >= prices.at[0].samples:
        return OUT_OF_TABLE
    return step_seconds(prices, step.tokens, step.chunks, step.chunks_s, step.decodes, step.kv_sum, step.sampled)


@merged
def launch(world: Any, r: int, now: float, seconds: float, bulk: int) -> None:
    """Queues the step on the device; `bulk` of its samples belong to decodes that are known by number alone."""
    replica, step = world.replicas[r], world.step[0]
    flight = world.flights[r, next_flight(world, r)]
    replica.device_free_at = max(now, replica.device_free_at) + seconds
    replica.busy_s += seconds
    replica.block_seconds += seconds * (replica.total_blocks - replica.free_blocks)
    replica.scheduled_requests += step.scheduled
    replica.scheduled_tokens += step.tokens
    replica.sampled_tokens += step.sampled
    flight.end_at = replica.device_free_at
    flight.count = step.named
    flight.decodes = bulk
    flight.step = replica.iterations
    replica.iterations += 1
    replica.barren = 0 if step.sampled > 0 else replica.barren + 1
    replica.phase = replica.phase + 1 if replica.phase + 1 < world.config[0].block_size else 0
    replica.in_flight += 1
