"""The engine with the fewest requests, running and waiting; the lowest number among equals."""

from __future__ import annotations

from typing import Any

from simulator.kernel.jit import kernel
from simulator.kernel.records import ROUTE
from simulator.routers._load import least_loaded

IGNORES_STATE = False
STATE_PER_SESSION = False
STATE_PER_CONTENT = False


@kernel(ROUTE)
def route(state: Any, replicas: Any, requests: Any, contents: Any, request: int) -> int:
    """Returns the engine with the fewest unfinished requests."""
    return least_loaded(replicas)
