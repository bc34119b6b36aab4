"""All requests of a session to one engine, the least loaded one when the session began.

Requests without a session go to the engine with the fewest unfinished requests.
"""

from __future__ import annotations

from typing import Any

from simulator.kernel.jit import kernel
from simulator.kernel.records import NOBODY, ROUTE
from simulator.routers import OWN
from simulator.routers._load import least_loaded

IGNORES_STATE = False
STATE_PER_SESSION = True
STATE_PER_CONTENT = False


@kernel(ROUTE)
def route(state: Any, replicas: Any, requests: Any, contents: Any, request: int) -> int:
    """Returns the engine of the request's session."""
    session = requests[request].session
    if session == NOBODY:
        return least_loaded(replicas)
    # One more than the engine's number: 0 is a session that nobody has seen.
    if state[OWN + session] == 0:
        state[OWN + session] = least_loaded(replicas) + 1
    return int(state[OWN + session] - 1)
