"""A scheduler that reads behind the running list: bounds checks see it.

`NUMBA_BOUNDSCHECK=1 python -m tests.invariants.outside` prints the error.
"""

from __future__ import annotations

from typing import Any

from simulator.kernel.jit import BOUNDS_CHECK, kernel
from simulator.kernel.records import SCHEDULE
from tests.invariants.cases import PLAIN, play
from tests.invariants.scenarios import small


@kernel(SCHEDULE)
def schedule(config: Any, replica: Any, requests: Any, running: Any, cache: Any) -> None:
    """Looks at one entry too many."""
    requests[running[len(running)]].scheduled_tokens = 1


if __name__ == "__main__":
    assert BOUNDS_CHECK, "without them it would write there"
    try:
        play(small("vllm_v1")["tight pool"], PLAIN, schedule)
    except IndexError as error:
        print(type(error).__name__, error)
