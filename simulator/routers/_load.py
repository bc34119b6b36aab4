"""How loaded an engine is, as a router sees it."""

from __future__ import annotations

from typing import Any

from simulator.kernel.jit import inner


@inner
def outstanding(replica: Any) -> int:
    """Returns the engine's requests that have not finished, running and waiting."""
    return int(replica.num_running + replica.num_waiting)


@inner
def least_loaded(replicas: Any) -> int:
    """Returns the engine with the fewest outstanding requests, the lowest number among equals."""
    best = 0
    for r in range(1, len(replicas)):
        if outstanding(replicas[r]) < outstanding(replicas[best]):
            best = r
    return best
