"""The event loop of a fleet.

A replica decides a step, which queues on its device, and decides again at once while fewer than `steps_in_flight` are
queued; otherwise it sleeps until the oldest one lands, and hands its tokens out. One step in flight is the synchronous
engine, two are vLLM's asynchronous scheduling: each step is decided when its predecessor starts.

A step is decided by counters where they are exact, else by the policy itself, which walks the batch; stretches of pure
decode are skipped in closed form.
"""

from __future__ import annotations

import math
from typing import Any

from numba import types

from simulator.kernel import counters
from simulator.kernel.jit import inner, kernel, merged
from simulator.kernel.land import land
from simulator.kernel.leap import leap
from simulator.kernel.records import NOBODY, REJECTED, ROUTE, SCHEDULE, WORLD_TYPE
from simulator.kernel.step import begin, give, launch, next_flight, price
from simulator.kernel.waiting import enqueue

DONE, STALLED, OUT_OF_TABLE, BARREN = 0, 1, 2, 3
# No prompt is so long that it takes as many steps to sample its first token.
MOST_BARREN_STEPS = 1_000_000


@kernel(types.int64(WORLD_TYPE, types.FunctionType(SCHEDULE), types.FunctionType(ROUTE)))
def run(world: Any, schedule: Any, route: Any) -> int:
    """Runs until nothing is left to happen; returns DONE, or why it cannot go on."""
    replicas, requests = world.replicas, world.requests
    arriving = 0
    while True:
        who = earliest(replicas)
        now = replicas[who].wake_at
        while arriving < len(requests) and requests[arriving].status == REJECTED:
            arriving += 1
        if arriving < len(requests) and requests[arriving].arrived_at <= now:
            deliver(world, route, arriving)
            arriving += 1
        elif now == math.inf:
            return unfinished(replicas)
        else:
            status = turn(world, schedule, who, now, requests[arriving].arrived_at if arriving < len(requests) else math.inf)
            if status != DONE:
                return status


@inner
def earliest(replicas: Any) -> int:
    """Returns the replica that wakes first."""
    best = 0
    for r in range(1, len(replicas)):
        if replicas[r].wake_at < replicas[best].wake_at:
            best = r
    return best


@inner
def unfinished(replicas: Any) -> int:
    """Returns STALLED when a replica sleeps for ever with work that it could not schedule."""
    for r in range(len(replicas)):
        if replicas[r].num_running > 0 or replicas[r].num_waiting > 0:
            return STALLED
    return DONE


@merged
def deliver(world: Any, route: Any, i: int) -> None:
    """Routes an arriving request to a replica's queue, and wakes that replica if it sleeps."""
    request = world.requests[i]
    r = route(world.router_state, world.replicas, world.requests, i)
    replica = world.replicas[r]
    world.outcomes[i].replica = r
    enqueue(world.config[0], replica, world.requests, i, False)
    if replica.wake_at == math.inf:
        replica.wake_at = request.arrived_at


@merged
def turn(world: Any, schedule: Any, r: int, now: float, next_arrival: float) -> int:
    """Lets replica `r` land what is due and decide one step; returns DONE, OUT_OF_TABLE or BARREN."""
    config, replica = world.config[0], world.replicas[r]
    if replica.in_flight > 0 and (replica.in_flight == config.steps_in_flight or now >= oldest_end(world, r)):
        land(world, r)
    if replica.num_running == 0 and replica.num_waiting == 0:
        replica.wake_at = math.inf
        return DONE
    if config.leaps and replica.num_waiting == 0 and replica.partial == NOBODY and replica.decodes > 0:
        now = leap(world, r, now, next_arrival)
        replica.wake_at = now
    seconds = decide(world, schedule, r, now)
    if seconds < 0:
        return OUT_OF_TABLE
    if seconds == 0 and replica.in_flight == 0:
        # A request that could only preempt itself ends the step; the next one may go on without it.
        replica.wake_at = now if replica.preempted_now > 0 else math.inf
    elif seconds == 0 or replica.in_flight == config.steps_in_flight:
        replica.wake_at = oldest_end(world, r)
    return BARREN if replica.barren > MOST_BARREN_STEPS else DONE


@merged
def oldest_end(world: Any, r: int) -> float:
    """Returns when the oldest step in flight ends."""
    return float(world.flights[r, world.replicas[r].oldest].end_at)


@merged
def decide(world: Any, schedule: Any, r: int, now: float) -> float:
    """Decides and launches a step; returns its seconds, 0 when nobody was scheduled, less when it has no price."""
    replica = world.replicas[r]
    bulk = 0
    replica.preempted_now = 0
    if replica.counting and counters.decide(world, r, now):
        bulk = replica.decodes
    else:
        if replica.counting:
            counters.to_records(world, r)
        ask(world, schedule, r, now)
    seconds = price(world)
    if seconds > 0:
        flight, step = next_flight(world, r), replica.iterations
        launch(world, r, now, seconds, bulk)
        if replica.counting:
            counters.settle(world, r, flight, step)
        elif world.config[0].counters:
            counters.to_counters(world, r, step)
    return seconds


@inner
def ask(world: Any, schedule: Any, r: int, now: float) -> None:
    """Lets the policy decide on the records, and moves whom it scheduled on by their tokens."""
    replica = world.replicas[r]
    schedule(world.config[0], replica, world.requests, world.running[r])
    begin(world)
    for k in range(replica.num_running):
        i = world.running[r, k]
        tokens = world.requests[i].scheduled_tokens
        if tokens > 0:
            world.requests[i].scheduled_tokens = 0
            give(world, r, i, tokens, now)
