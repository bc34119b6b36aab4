"""Any engine, each as likely as the others."""

from __future__ import annotations

from typing import Any

from simulator.kernel.jit import kernel
from simulator.kernel.records import ROUTE
from simulator.routers._chance import draw

IGNORES_STATE = True
STATE_PER_SESSION = False
STATE_PER_CONTENT = False


@kernel(ROUTE)
def route(state: Any, replicas: Any, requests: Any, contents: Any, request: int) -> int:
    """Returns an engine drawn by the run's seed."""
    return draw(state, len(replicas))
