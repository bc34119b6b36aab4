"""Plays short cases and prints all that they leave behind, to the bit: run it as the compiler is set, and compare.

`python -m tests.invariants.replay` prints one JSON document.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from simulator import catalog
from simulator.kernel import engine
from tests.invariants.cases import play
from tests.invariants.scenarios import small

COLUMNS = {
    "requests": ("arrived_at", "first_scheduled_at", "preemptions", "preempted_s", "hit_tokens", "status"),
    "outcomes": ("first_token_at", "last_token_at", "itl_max", "bubble_s", "produced", "replica"),
    "replicas": (
        "free_blocks",
        "busy_s",
        "block_seconds",
        "iterations",
        "scheduled_requests",
        "scheduled_tokens",
        "sampled_tokens",
        "kv_tokens",
        "peak_blocks",
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
                yield f"{scheduler}, {name}, {mode}", bits(play(case, mode)[1])


def document() -> dict[str, dict[str, str]]:
    """Returns all runs by name."""
    return dict(runs())


if __name__ == "__main__":
    print(json.dumps(document()))
