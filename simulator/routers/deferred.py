"""No engine until one has room: requests wait in front of the fleet, where they are bound to none.

Room is a free seat, nobody who waits already, and free blocks for the whole prompt; of several engines the one with the
most free blocks. The stateful, deferred binding of the Vidur paper (MLSys 2024).
"""

from __future__ import annotations

from typing import Any

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
        if has_room(replicas[r], requests[request]) and (best == NOBODY or replicas[r].free_blocks > replicas[best].free_blocks):
            best = r
    return best


@inner
def has_room(replica: Any, request: Any) -> bool:
    """Returns whether the engine could take the request at once."""
    if replica.num_waiting > 0 or replica.num_running >= replica.seats:
        return False
    # An empty engine takes whatever is not refused outright.
    return bool(replica.num_running == 0 or replica.free_blocks * replica.block_size >= request.prompt_tokens)
