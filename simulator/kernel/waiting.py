"""The waiting list of a replica: a doubly linked list through the requests, so that every move is O(1).

Its order is the policy's: arrival with preempted requests in front (fcfs), or (priority, arrival, id) (priority).
"""

from __future__ import annotations

from typing import Any

from simulator.kernel.jit import inner
from simulator.kernel.records import NOBODY, WAITING, Record


@inner
def insert_after(replica: Record, requests: Any, place: int, i: int) -> None:
    """Puts request `i` behind `place`, or in front of everybody when `place` is NOBODY."""
    request = requests[i]
    follower = replica.waiting_head if place == NOBODY else requests[place].next
    request.status = WAITING
    request.previous = place
    request.next = follower
    if place == NOBODY:
        replica.waiting_head = i
    else:
        requests[place].next = i
    if follower == NOBODY:
        replica.waiting_tail = i
    else:
        requests[follower].previous = i
    replica.num_waiting += 1


@inner
def unlink(replica: Record, requests: Any, i: int) -> None:
    """Takes request `i` out of the list."""
    before, after = requests[i].previous, requests[i].next
    if before == NOBODY:
        replica.waiting_head = after
    else:
        requests[before].next = after
    if after == NOBODY:
        replica.waiting_tail = before
    else:
        requests[after].previous = before
    replica.num_waiting -= 1


@inner
def goes_before(one: Record, other: Record) -> bool:
    """Returns whether `one` precedes `other` under the priority policy."""
    if one.priority != other.priority:
        return bool(one.priority < other.priority)
    if one.arrived_at != other.arrived_at:
        return bool(one.arrived_at < other.arrived_at)
    return bool(one.text_rank < other.text_rank)


@inner
def enqueue(config: Record, replica: Record, requests: Any, i: int, in_front: bool) -> None:
    """Puts request `i` at its place: by priority, or at the front (preempted), or at the back (arrived)."""
    place = NOBODY if in_front else replica.waiting_tail
    if config.by_priority:
        place = replica.waiting_tail
        while place != NOBODY and goes_before(requests[i], requests[place]):
            place = requests[place].previous
    insert_after(replica, requests, place, i)
