"""The less loaded of two engines drawn at random; of two equal ones the first that was drawn.

`power_of_two` of the routers of SGLang and vLLM; load is the number of unfinished requests.
"""

from __future__ import annotations

from typing import Any

from simulator.kernel.jit import kernel
from simulator.kernel.records import ROUTE
from simulator.routers._chance import draw
from simulator.routers._load import outstanding

IGNORES_STATE = False
STATE_PER_SESSION = False
STATE_PER_CONTENT = False


@kernel(ROUTE)
def route(state: Any, replicas: Any, requests: Any, contents: Any, request: int) -> int:
    """Returns one of two different engines, the one with fewer unfinished requests."""
    if len(replicas) == 1:
        return 0
    first = draw(state, len(replicas))
    second = draw(state, len(replicas) - 1)
    if second >= first:
        second += 1
    return first if outstanding(replicas[first]) <= outstanding(replicas[second]) else second
