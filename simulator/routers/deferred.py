"""No engine until one has room: requests wait in front of the fleet, where they are bound to none.

Room is a seat and free blocks for the whole prompt, beside those that the engine's own queue needs; of several engines
the one with the most free blocks. The stateful, deferred binding that the Vidur paper (MLSys 2024) describes.
"""

from __future__ import annotations

from typing import Any

from simulator.kernel.blocks import blocks_for
from simulator.kernel.jit import inner, kernel
from simulator.kernel.records import NOBODY, ROUTE

IGNORES_STATE = False
STATE_PER_SESSION = False
STATE_PER_CONTENT = False


@kernel(ROUTE)
def route(state: Any, replicas: Any, requests: Any, contents: Any, request: int) -> int:
    """Returns the engine with room that has the most free blocks, the lowest number among equals, or NOBODY."""
    best = NOBODY
    for r in range(len(replicas)):
        if has_room(replicas[r], requests, request) and (best == NOBODY or replicas[r].free_blocks > replicas[best].free_blocks):
            best = r
    return best


@inner
def has_room(replica: Any, requests: Any, request: int) -> bool:
    """Returns whether the engine could take the request when it decides next."""
    if replica.num_running + replica.num_waiting == 0:
        # Whatever is not refused outright fits an empty engine.
        return True
    needed = blocks_for(requests[request].prompt_tokens, replica.block_size)
    i = replica.waiting_head
    for _ in range(replica.num_waiting):
        # A preempted request waits for its outputs' blocks as well.
        needed += blocks_for(requests[i].known_tokens, replica.block_size)
        i = requests[i].next
    return bool(replica.num_running + replica.num_waiting < replica.seats and needed <= replica.free_blocks)
