"""Every engine in turn."""

from __future__ import annotations

from typing import Any

from simulator.kernel.jit import kernel
from simulator.kernel.records import ROUTE

IGNORES_STATE = True
STATE_PER_SESSION = False
STATE_PER_CONTENT = False
NEXT = 1


@kernel(ROUTE)
def route(state: Any, replicas: Any, requests: Any, contents: Any, request: int) -> int:
    """Returns the next engine of the circle."""
    chosen = state[NEXT]
    state[NEXT] = (chosen + 1) % len(replicas)
    return int(chosen)
