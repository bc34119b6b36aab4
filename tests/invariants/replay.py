"""Plays short cases and prints all that they leave behind, to the bit: run it as the compiler is set, and compare.

`python -m tests.invariants.replay` prints one JSON document.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from simulator import catalog
from simulator.kernel import engine
from tests.invariants.cases import prepared_for
from tests.invariants.scenarios import small

COLUMNS = {
    "requests": ("first_scheduled_at", "preemptions"),
    "outcomes": ("first_token_at", "last_token_at", "itl_max", "replica"),
    "replicas": (
        "free_blocks",
        "busy_s",
        "block_seconds",
        "iterations",
        "scheduled_requests",
        "scheduled_tokens",
        "sampled_tokens",
    ),
    "gaps": ("count", "sum_s"),
}


def bits(run: engine.Run) -> dict[str, str]:
    """Returns every column of a run as hexadecimal digits, and how many requests were preempted."""
    found = {f"{name}.{column}": getattr(run, name)[column] for name, columns in COLUMNS.items() for column in columns}
    filled = run.gaps["count"] > 0
    texts = {name: (values[filled] if name.startswith("gaps") else values).tobytes().hex() for name, values in found.items()}
    return {**texts, "preemptions": str(int(run.requests["preemptions"].sum()))}


def runs() -> Iterator[tuple[str, dict[str, str]]]:
    """Yields every short case of every scheduler in every way to decide a step."""
    for scheduler in catalog.names("schedulers"):
        for name, case in small(scheduler).items():
            for mode in case.modes:
                prepared = prepared_for(case, mode)
                fleet = engine.Fleet(case.replicas, prepared.schedule, prepared.route)
                run = engine.run(prepared.limits, prepared.prices, case.traffic, case.traffic.arrival_s, fleet)
                yield f"{scheduler}, {name}, {mode}", bits(run)


def document() -> dict[str, dict[str, str]]:
    """Returns all runs by name."""
    return dict(runs())


if __name__ == "__main__":
    print(json.dumps(document()))
