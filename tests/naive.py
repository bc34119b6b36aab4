"""Naive: serving simulated the obvious way, as the oracle of the compiled kernels.

One object a request, one list of those that run and one of those that wait, numbered blocks, the time of every token
kept. The rules are those that vLLM 0.19.0's V1 scheduler was recorded to follow, and those of the papers and systems that
each policy names. Nothing of the simulator is used; of a price list, its fields are read. This file is the door:
`naive_nouns` says what it is about, `naive_policies` and `naive_vidur` decide, `naive_engine` and `naive_cache` keep
count, `naive_fleet` lets time pass, `naive_prices` says how much of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.naive_engine import Engine
from tests.naive_fleet import Fleet, Group, Route
from tests.naive_nouns import Batch, Knobs, Request, Step
from tests.naive_prices import Work

__all__ = ["ROUTERS", "Batch", "Engine", "Fleet", "Group", "Knobs", "Request", "Run", "Step", "Work", "simulate"]


@dataclass(frozen=True, eq=False)
class Run:
    """All requests, as they were given, and all engines and groups of engines, at the end."""

    requests: list[Request]
    replicas: list[Engine]
    groups: list[Group]


def simulate(
    knobs: Knobs,
    prices: Any,
    requests: Sequence[Request],
    replicas: int = 1,
    router: str | Route = "round_robin",
    kind: type[Fleet] = Fleet,
) -> Run:
    """Returns the run of requests on `replicas` groups of engines behind a router, which is a name or a function.

    `prices` is a price list, or a function from a step's work and sampled sequences to the seconds of each stage.
    """
    fleet = kind(knobs, prices, requests, replicas, ROUTERS[router] if isinstance(router, str) else router)
    fleet.serve()
    return Run(list(requests), fleet.engines, fleet.groups)


def round_robin(fleet: Fleet, request: Request) -> int:
    """Returns every engine in turn."""
    fleet.routed += 1
    return (fleet.routed - 1) % len(fleet.engines)


def least_waiting(fleet: Fleet, request: Request) -> int:
    """Returns the first engine with the shortest queue, those that run not counted."""
    return min(fleet.engines, key=lambda engine: len(engine.waiting)).number


def least_outstanding(fleet: Fleet, request: Request) -> int:
    """Returns the first engine with the fewest requests, waiting or running."""
    return min(fleet.engines, key=lambda engine: len(engine.waiting) + len(engine.running)).number


def deferred(fleet: Fleet, request: Request) -> int | None:
    """Returns the engine with room that has the most free blocks; None, and the request waits for one, when none has."""

    def has_room(engine: Engine) -> bool:
        there = [*engine.running, *engine.waiting]
        needed = engine.blocks_for(request.prompt) + sum(engine.blocks_for(engine.known(r)) for r in engine.waiting)
        return not there or (len(there) < engine.knobs.max_num_seqs and needed <= engine.free_blocks)

    open_ones = [engine for engine in fleet.engines if has_room(engine)]
    return max(open_ones, key=lambda engine: (engine.free_blocks, -engine.number)).number if open_ones else None


ROUTERS: dict[str, Route] = {
    "round_robin": round_robin,
    "least_waiting": least_waiting,
    "least_outstanding": least_outstanding,
    "deferred": deferred,
}
