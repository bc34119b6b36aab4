"""The journal: every step and who took part in it, written only where it is asked for.

It has room for so many entries; the loop leaves when the next step might not fit, and goes on when they were read.
"""

from __future__ import annotations

from typing import Any

from simulator.kernel.jit import inner, merged
from simulator.kernel.records import NOBODY

SCHEDULED, ADMITTED, PREEMPTED, FINISHED, STEP, NOTHING, PASS = 0, 1, 2, 3, 4, 5, 6


@merged
def note(world: Any, kind: int, step: int, i: int, amount: int) -> None:
    """Writes that something happened to request `i` in a step."""
    entry = world.journal[world.clock[0].written]
    entry.kind = kind
    entry.step = step
    entry.request = i
    entry.amount = amount
    world.clock[0].written += 1


@merged
def nearly_full(world: Any) -> bool:
    """Returns whether the next turn of a group might not find room."""
    config = world.config[0]
    return bool(world.clock[0].written + _room(config.group, config.steps_in_flight, config.max_num_seqs) > len(world.journal))


def room_for_a_turn(group: int, steps_in_flight: int, seats: int) -> int:
    """Returns a bound on the entries of one turn: who finishes, takes part, is admitted or must go, and every stage."""
    return group * (4 * seats + 1 + steps_in_flight)


_room = inner(room_for_a_turn)


@merged
def note_pass(world: Any, r: int, stage: int, start_at: float, end_at: float) -> None:
    """Writes when the step passes a stage of the pipeline."""
    entry = world.journal[world.clock[0].written]
    entry.kind = PASS
    entry.step = world.steps[r].entry
    entry.lane = stage
    entry.start_s = start_at
    entry.end_s = end_at
    world.clock[0].written += 1


@merged
def open_step(world: Any, r: int) -> None:
    """Begins the entry of the step that is being decided, and writes who was preempted in it."""
    clock, replica, step = world.clock[0], world.replicas[r], world.steps[r]
    step.entry = clock.read + clock.written
    clock.written += 1
    first = clock.written
    clock.written += replica.preempted_now
    i = replica.preempted_last
    for k in range(replica.preempted_now - 1, -1, -1):
        entry = world.journal[first + k]
        entry.kind = PREEMPTED
        entry.step = step.entry
        entry.request = i
        entry.amount = 0
        i = world.requests[i].preempted_before


@merged
def close_step(world: Any, r: int, now: float, end_at: float) -> None:
    """Writes the summary of the step; one in which nobody took part or had to go keeps an empty entry."""
    clock, replica, summary = world.clock[0], world.replicas[r], world.steps[r]
    entry = world.journal[summary.entry - clock.read]
    entry.kind = STEP if summary.scheduled > 0 or replica.preempted_now > 0 else NOTHING
    entry.step = summary.entry
    entry.request = NOBODY
    entry.engine = r
    entry.number = replica.launched
    entry.lane = replica.lane
    entry.sched_s = now
    entry.start_s = summary.start_at if summary.scheduled > 0 else end_at
    entry.end_s = end_at
    entry.tokens = summary.tokens
    entry.kv_tokens = summary.kv_sum + summary.chunk_kv
    entry.scheduled = summary.scheduled
    entry.num_running = replica.num_running
    entry.num_waiting = replica.num_waiting
    entry.free_blocks = replica.free_blocks
