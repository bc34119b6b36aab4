"""The event loop of a fleet.

An engine decides a step, which queues on its device, and decides again at once while fewer than `steps_in_flight` are
queued; otherwise it sleeps until the oldest one lands, and hands its tokens out. One step in flight is the synchronous
engine, two are vLLM's asynchronous scheduling, where each step is decided when its predecessor starts, and as many as
there are stages fill a pipeline. Engines of a group decide and step together, as late as the slowest of them.

A step is decided by counters where they are exact, else by the policy itself, which walks the batch; stretches of pure
decode are skipped in closed form. The loop leaves when the journal is full, and goes on where it was.
"""

from __future__ import annotations

import math
from typing import Any

from numba import types

from simulator.kernel import counted, counters, fleet, handover, journal
from simulator.kernel.cruise import LOOK, SLEEP, cruise
from simulator.kernel.jit import inner, kernel, merged
from simulator.kernel.land import land
from simulator.kernel.leap import leap
from simulator.kernel.records import NOBODY, ROUTE, SCHEDULE
from simulator.kernel.state import WORLD_TYPE
from simulator.kernel.step import begin, fly, give, launch, next_flight, price

DONE, STALLED, OUT_OF_TABLE, BARREN, STOPPED, JOURNAL_FULL = 0, 1, 2, 3, 4, 5
# No prompt is so long that it takes as many steps to sample its first token.
MOST_BARREN_STEPS = 1_000_000


@kernel(types.int64(WORLD_TYPE, types.FunctionType(SCHEDULE), types.FunctionType(ROUTE)))
def run(world: Any, schedule: Any, route: Any) -> int:
    """Runs until nothing is left to happen; returns DONE, or why it cannot go on."""
    config, replicas = world.config[0], world.replicas
    while True:
        first = earliest(replicas, config.group)
        now = replicas[first].wake_at
        outside = fleet.next_event(world)
        if outside <= now:
            if outside == math.inf:
                return STALLED if fleet.unfinished(world) else DONE
            fleet.happen(world, route, outside)
            continue
        if config.recording and journal.nearly_full(world):
            return JOURNAL_FULL
        status = turn(world, schedule, route, first, now)
        if status != DONE:
            return status
        if hopeless(world, now):
            return STOPPED


@inner
def earliest(replicas: Any, group: int) -> int:
    """Returns the first engine of the group that wakes first."""
    best = 0
    for r in range(group, len(replicas), group):
        if replicas[r].wake_at < replicas[best].wake_at:
            best = r
    return best


@merged
def hopeless(world: Any, now: float) -> bool:
    """Returns whether more requests or tokens are late for certain than the Slo allows."""
    config, clock = world.config[0], world.clock[0]
    if clock.late_itl > config.stop_itl or clock.late_e2e > config.stop_e2e:
        return True
    if config.stop_ttft_s == math.inf:
        return False
    # Who arrived so long ago and has no first token yet will be late as well.
    while clock.aged < len(world.requests) and world.requests[clock.aged].arrived_at < now - config.stop_ttft_s:
        clock.aged += 1
    return bool(clock.late_ttft + max(clock.aged - clock.first_tokens, 0) > config.stop_ttft)


@merged
def turn(world: Any, schedule: Any, route: Any, first: int, now: float) -> int:
    """Lets a group of engines land what is due and decide one step; returns DONE, OUT_OF_TABLE or BARREN."""
    config, lead = world.config[0], world.replicas[first]
    if lead.in_flight > 0:
        if now >= oldest_end(world, first):
            for r in range(first, first + config.group):
                land(world, r)
            if world.clock[0].held_first != NOBODY:
                fleet.ask_again(world, route, now)
        elif lead.in_flight == config.steps_in_flight:
            lead.wake_at = oldest_end(world, first)
            return DONE
    # Whoever is kept in front of the fleet is asked about after every step.
    nobody_waits = lead.num_waiting == 0 and world.lanes[first].partial == NOBODY and world.clock[0].held_first == NOBODY
    if config.cruises and lead.counting and nobody_waits:
        following = LOOK
        while following == LOOK and world.lanes[first].decodes > 0:
            until = fleet.undisturbed(world, first)
            if config.leaps:
                now = leap(world, first, now, until)
            now, following = cruise(world, first, now, until)
        if following == SLEEP:
            return DONE
    if not has_work(world, first):
        lead.wake_at = oldest_end(world, first) if lead.in_flight > 0 else math.inf
        return DONE
    scheduled, preempted = 0, 0
    for r in range(first, first + config.group):
        status = decide(world, schedule, r, now)
        if status < 0:
            return OUT_OF_TABLE
        scheduled += world.steps[r].scheduled
        preempted += world.replicas[r].preempted_now
    lead.wake_at = now
    if scheduled > 0:
        end_at = fly(world, first, now)
        for r in range(first, first + config.group):
            take_off(world, r, now, end_at)
        if lead.in_flight == config.steps_in_flight:
            lead.wake_at = oldest_end(world, first)
    else:
        if config.recording:
            for r in range(first, first + config.group):
                journal.close_step(world, r, now, max(now, world.replicas[r].device_free_at))
        if lead.in_flight > 0:
            lead.wake_at = oldest_end(world, first)
        elif preempted == 0:
            # A request that could only preempt itself ends the step; the next one may go on without it.
            lead.wake_at = math.inf
    return BARREN if lead.barren > MOST_BARREN_STEPS else DONE


@merged
def has_work(world: Any, first: int) -> bool:
    """Returns whether any engine of the group has a request."""
    work = 0
    for r in range(first, first + world.config[0].group):
        work += world.replicas[r].num_running + world.replicas[r].num_waiting
    return work > 0


@merged
def oldest_end(world: Any, r: int) -> float:
    """Returns when the oldest step in flight ends."""
    return float(world.flights[r, world.replicas[r].oldest].end_at)


@merged
def decide(world: Any, schedule: Any, r: int, now: float) -> float:
    """Decides a step; returns less than 0 when it has no price."""
    config, replica = world.config[0], world.replicas[r]
    replica.now = now
    replica.preempted_now = 0
    if config.pipeline_stages > 1:
        while world.lanes[r * config.pipeline_stages + replica.lane].in_flight > 0:
            replica.lane = replica.lane + 1 if replica.lane + 1 < config.pipeline_stages else 0
    if not (replica.counting and counters.decide(world, r, now)):
        if replica.counting:
            handover.to_records(world, r)
        ask(world, schedule, r, now)
    return price(world, r)


@merged
def take_off(world: Any, r: int, now: float, end_at: float) -> None:
    """Puts the decided step in flight."""
    place = next_flight(world, r)
    if world.config[0].recording:
        world.flights[r, place].entry = world.steps[r].entry
        journal.close_step(world, r, now, end_at)
    launch(world, r, end_at)
    if world.replicas[r].counting:
        counted.settle(world, r, place)
    elif world.config[0].counters:
        handover.to_counters(world, r)


@inner
def ask(world: Any, schedule: Any, r: int, now: float) -> None:
    """Lets the policy decide on the records, and moves whom it scheduled on by their tokens."""
    config, replica = world.config[0], world.replicas[r]
    schedule(config, replica, world.requests, world.running[r], world.cache)
    begin(world, r)
    if config.recording:
        journal.open_step(world, r)
    for k in range(replica.num_running):
        i = world.running[r, k]
        request = world.requests[i]
        if config.recording and request.admitted:
            journal.note(world, journal.ADMITTED, world.steps[r].entry, i, request.computed_tokens)
        request.admitted = 0
        tokens = request.scheduled_tokens
        if tokens > 0:
            request.scheduled_tokens = 0
            if config.recording:
                journal.note(world, journal.SCHEDULED, world.steps[r].entry, i, tokens)
            give(world, r, i, tokens, now)
