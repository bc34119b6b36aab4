"""Stretches of pure decode, skipped in closed form.

While nobody arrives, waits, finishes or lacks a block, every step is the one before with a token more for each decode.
Its time is linear in the mean KV between two knots of the price list, so that a stretch is an arithmetic series: its sum
gives the time, its range the gaps. Times differ from single steps by rounding alone (under 1e-9 s).
"""

from __future__ import annotations

import math
from typing import Any

from simulator.kernel import peaks
from simulator.kernel.gaps import PER_UNIT, SMALLEST_S, bin_of
from simulator.kernel.jit import inner, merged
from simulator.kernel.pricelist import DECODE_ONLY, KV_STEP
from simulator.kernel.pricing import decode_seconds, token_seconds, with_overheads
from simulator.kernel.records import NOBODY

SHORTEST = 3


@inner
def leap(world: Any, r: int, now: float, next_arrival: float) -> float:
    """Skips what can be skipped before the next arrival; returns the time of the next decision, `now` if nothing was."""
    replica = world.replicas[r]
    if not replica.counting or replica.partial != NOBODY or replica.num_waiting > 0 or replica.decodes == 0:
        return now
    if replica.in_flight != world.config[0].steps_in_flight - 1 or not flying_alike(world, r):
        return now
    left = steps_without_end(world, r)
    free_at = replica.device_free_at if replica.in_flight > 0 else now
    while left >= SHORTEST:
        steps = min(left, steps_with_blocks(world, r), steps_to_knot(world, r))
        first, floored = next_seconds(world, 0, r)
        # A step more than is taken must end before the arrival, so that rounding cannot put it on the wrong side.
        steps = min(steps, int((next_arrival - free_at) / first) - 1) if next_arrival < math.inf else steps
        if steps < SHORTEST:
            break
        last, last_floored = next_seconds(world, steps - 1, r)
        if floored != last_floored:
            break
        total = steps * (first + last) / 2
        if free_at + total + last >= next_arrival:
            steps = int((next_arrival - free_at) / max(first, last)) - 2
            if steps < SHORTEST:
                break
            last, last_floored = next_seconds(world, steps - 1, r)
            total = steps * (first + last) / 2
        skip(world, r, steps, first, last, total)
        free_at += total
        left -= steps
    return float(max(now, replica.landed_at if replica.in_flight > 0 else free_at))


@merged
def flying_alike(world: Any, r: int) -> bool:
    """Returns whether the step in flight, if any, is of the same decodes and of nobody else."""
    replica = world.replicas[r]
    if replica.in_flight == 0:
        return True
    flight = world.flights[r, replica.oldest]
    return bool(flight.count == 0 and flight.decodes == replica.decodes)


@merged
def steps_without_end(world: Any, r: int) -> int:
    """Returns how many of the coming steps give nobody a last token."""
    replica = world.replicas[r]
    mask = world.ends.shape[1] - 1
    step = replica.iterations
    while world.ends[r, step & mask] == NOBODY:
        step += 1
    return int(step - replica.iterations)


@merged
def steps_with_blocks(world: Any, r: int) -> int:
    """Returns a number of steps for which the free blocks surely suffice: every cycle of a block takes one a decode."""
    replica = world.replicas[r]
    return int((replica.free_blocks // replica.decodes) * world.config[0].block_size)


@merged
def steps_to_knot(world: Any, r: int) -> int:
    """Returns how many steps, the first included, have their mean KV in one cell of the price list."""
    replica, prices = world.replicas[r], world.prices
    mean = (replica.kv_sum + replica.decodes) / replica.decodes
    at = prices.at[0]
    column = prices.slots[at.decode_kv_slots + int(mean) // KV_STEP]
    return int(prices.values[at.decode_kvs + column + 1] - mean) + 1


@merged
def next_seconds(world: Any, ahead: int, r: int) -> tuple[float, bool]:
    """Returns the seconds of the step that lies `ahead` steps in front, and whether the floor decides them."""
    replica, prices = world.replicas[r], world.prices
    decodes = replica.decodes
    seconds = token_seconds(prices, DECODE_ONLY, decodes, decodes)
    seconds += decode_seconds(prices, decodes, replica.kv_sum + (ahead + 1) * decodes)
    floored = seconds < prices.values[prices.at[0].floor + DECODE_ONLY]
    return with_overheads(prices, DECODE_ONLY, seconds), floored


@merged
def skip(world: Any, r: int, steps: int, first: float, last: float, total: float) -> None:
    """Lands and launches `steps` equal steps; the one in flight afterwards, if any, is the last of them."""
    replica = world.replicas[r]
    decodes = replica.decodes
    used = replica.total_blocks - replica.free_blocks
    taken = blocks_taken(world, r, steps)
    replica.free_blocks -= taken
    replica.block_seconds += total * (used + used + taken + decodes / world.config[0].block_size) / 2
    replica.busy_s += total
    replica.kv_sum += steps * decodes
    replica.scheduled_requests += steps * decodes
    replica.scheduled_tokens += steps * decodes
    replica.sampled_tokens += steps * decodes
    start = max(replica.device_free_at, replica.landed_at)
    if replica.in_flight > 0:
        flight = world.flights[r, replica.oldest]
        count_gaps(world, flight.end_at - replica.landed_at, flight.end_at - replica.landed_at, 1, decodes)
        peaks.push(world, r, flight.step, flight.end_at - replica.landed_at)
        slope = (last - first) / (steps - 1)
        count_gaps(world, first, last - slope, steps - 1, decodes)
        peaks.push(world, r, replica.iterations + steps - 2, max(first, last - slope))
        replica.landed_at = start + total - last
        flight.end_at = start + total
        flight.step = replica.iterations + steps - 1
    else:
        count_gaps(world, first, last, steps, decodes)
        peaks.push(world, r, replica.iterations + steps - 1, max(first, last))
        replica.landed_at = start + total
    replica.device_free_at = start + total
    replica.iterations += steps
    replica.phase = (replica.phase + steps) % world.config[0].block_size


@merged
def blocks_taken(world: Any, r: int, steps: int) -> int:
    """Returns the blocks that the decodes take in so many steps."""
    replica, size = world.replicas[r], world.config[0].block_size
    taken = (steps // size) * replica.decodes
    for k in range(steps % size):
        taken += world.due[r, (replica.phase + k) % size]
    return int(taken)


@merged
def count_gaps(world: Any, first: float, last: float, steps: int, decodes: int) -> None:
    """Counts the gaps of an arithmetic series of steps, `decodes` of each, into their bins."""
    slope = (last - first) / (steps - 1) if steps > 1 else 0.0
    done = 0
    while done < steps:
        gap = first + done * slope
        place = bin_of(gap)
        here = steps - done
        if bin_of(last) != place:
            edge = math.exp((place if slope > 0 else place - 1) / PER_UNIT) * SMALLEST_S
            here = min(max(int((edge - gap) / slope) + 1, 1), here)
        end = first + (done + here - 1) * slope
        world.gaps[place].count += here * decodes
        world.gaps[place].sum_s += decodes * here * (gap + end) / 2
        done += here
