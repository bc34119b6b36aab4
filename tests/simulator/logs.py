"""A run of two engines written out by hand: what was decided, step by step, and when."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.kernel.journal import ADMITTED, FINISHED, PREEMPTED, SCHEDULED

STEP = np.dtype(
    [
        *((name, "i8") for name in ("engine", "step")),
        *((name, "f8") for name in ("sched_s", "start_s", "end_s")),
        *((name, "i8") for name in ("tokens", "kv_tokens", "scheduled", "num_running", "num_waiting", "free_blocks")),
        *((name, "i8") for name in ("first", "count", "lane")),
    ]
)
ENTRY = np.dtype([(name, "i8") for name in ("kind", "step", "request", "amount")])

# engine, step, sched_s, start_s, end_s, tokens, kv_tokens, scheduled, running, waiting, free, first, count, lane
STEPS = [
    (0, 0, 0.0, 0.0, 0.1, 6, 6, 1, 1, 0, 9, 0, 0, 0),
    (0, 1, 0.0, 0.1, 0.2, 5, 11, 2, 2, 0, 7, 0, 0, 0),
    (1, 0, 0.05, 0.05, 0.3, 3, 3, 1, 1, 0, 9, 0, 0, 0),
    (0, 2, 0.1, 0.2, 0.3, 1, 8, 1, 1, 1, 8, 0, 0, 0),
    (0, 3, 0.2, 0.3, 0.3, 0, 0, 0, 0, 2, 10, 0, 0, 0),
    (0, 4, 0.3, 0.3, 0.4, 9, 9, 1, 1, 1, 8, 0, 0, 0),
    (0, 5, 0.4, 0.4, 0.5, 4, 4, 1, 1, 0, 9, 0, 0, 0),
]
# In the order of time, in which request 0 makes its second token after step 3 (the zero-based 2) was decided.
ENTRIES = [
    *((ADMITTED, 0, 0, 0), (SCHEDULED, 0, 0, 6)),
    *((ADMITTED, 1, 1, 2), (SCHEDULED, 1, 0, 1), (SCHEDULED, 1, 1, 4)),
    *((ADMITTED, 2, 2, 0), (SCHEDULED, 2, 2, 3)),
    *((PREEMPTED, 3, 1, 0), (SCHEDULED, 3, 0, 1)),
    (PREEMPTED, 4, 0, 0),
    (FINISHED, 2, 2, 0),
    *((ADMITTED, 5, 0, 0), (SCHEDULED, 5, 0, 9)),
    (FINISHED, 5, 0, 0),
    *((ADMITTED, 6, 1, 3), (SCHEDULED, 6, 1, 4)),
    (FINISHED, 6, 1, 0),
]
NAMES = np.array([10, 11, 14, 15])


def log() -> Any:
    """Returns the steps and what happened in them, as a run records them."""
    return SimpleNamespace(steps=np.array(STEPS, dtype=STEP), entries=np.array(ENTRIES, dtype=ENTRY))


def outcome() -> Any:
    """Returns what the same run leaves of its four requests, of which the last was rejected."""
    nan = np.nan
    return SimpleNamespace(
        steps=log(),
        row=NAMES,
        arrived_at=np.array([0.0, 0.0, 0.05, 0.06]),
        prompt_tokens=np.array([6, 6, 3, 99]),
        output_tokens=np.array([4, 2, 1, 1]),
        first_token_at=np.array([0.1, 0.2, 0.3, nan]),
        finished_at=np.array([0.4, 0.5, 0.3, nan]),
        preemptions=np.array([1, 1, 0, 0]),
        replica=np.array([0, 0, 1, -1]),
        rejected=np.array([False, False, False, True]),
        replicas=2,
        class_of=np.zeros(4, dtype=np.int64),
        class_names=("all",),
    )


def traffic(cancel_after_s: NDArray[np.float64] | None = None) -> Any:
    """Returns the requests of that run, none of which is cancelled by default."""
    return SimpleNamespace(cancel_after_s=np.full(4, np.inf) if cancel_after_s is None else cancel_after_s)
