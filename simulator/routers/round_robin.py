"""Every replica in turn."""

from __future__ import annotations

from typing import Any

from simulator.kernel.jit import kernel
from simulator.kernel.records import ROUTE

IGNORES_STATE = True


@kernel(ROUTE)
def route(state: Any, replicas: Any, requests: Any, request: int) -> int:
    """Returns the next replica of the circle."""
    chosen = state[0]
    state[0] = (chosen + 1) % len(replicas)
    return int(chosen)
