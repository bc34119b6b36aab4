"""The engine with the shortest queue; the lowest number among equals, so that a fleet with room favours the first one.

Vidur's `lor`: it counts the requests that wait for admission and no running ones.
"""

from __future__ import annotations

from typing import Any

from simulator.kernel.jit import kernel
from simulator.kernel.records import ROUTE

IGNORES_STATE = False
STATE_PER_SESSION = False
STATE_PER_CONTENT = False


@kernel(ROUTE)
def route(state: Any, replicas: Any, requests: Any, contents: Any, request: int) -> int:
    """Returns the engine with the fewest waiting requests."""
    best = 0
    for r in range(1, len(replicas)):
        if replicas[r].num_waiting < replicas[best].num_waiting:
            best = r
    return best
