"""Executors: where the items of a study run. One file each, one contract.

`map_unordered(function, items, stop=stop)` yields `(index, result)` once for every item that ran, in any order, while
the others run. An exception of the function is yielded as `Failed`, never raised, and does not disturb other items.
`stop` is asked between items, in the caller's thread: once it is true no item starts (Ray: no chunk), what is running
is yielded if it ends within GRACE_S and abandoned if not, and the iterator ends. Closing the iterator early, Ctrl-C
included, abandons what is running too. What is abandoned is broken off: in this process where it says so
(`search.breaking.check`), on Ray by ending its worker.

The function and its items belong to the caller and are not mutated. In `inline` and `threads` they are shared with the
caller, and the function must be safe to run in several threads at once. In `ray` they are pickled: neither a lambda's
surroundings nor a module variable changed by the function comes back, and an item may run again when a worker dies, so
that the function must give the same result for the same item.

An executor is a context manager: leaving it releases the threads or the Ray that it started, and only these.
The file's name is its name in requests; the file provides `create(address: str | None) -> Executor`, except `auto`,
which chooses.
"""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

# How long after `stop` an item may take to end by itself; with the polling before and after, studies stop within two seconds.
GRACE_S = 0.5
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failed:
    """An item that raised, or whose worker died: one line of error, and the traceback where there is one."""

    error: str
    trace: str = ""


class Executor(ABC):
    """Runs a function over items; `workers` items run at a time."""

    workers: int = 1

    @abstractmethod
    def map_unordered(
        self, function: Callable[[Item], Result], items: Sequence[Item], *, stop: Callable[[], bool]
    ) -> Iterator[tuple[int, Result | Failed]]:
        """Yields the index and the result of every item that ran, in any order."""

    def close(self) -> None:
        """Releases what the executor started; may be called twice."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def attempt(function: Callable[[Item], Result], item: Item) -> Result | Failed:
    """Returns the function's result, or Failed with the text of what it raised."""
    try:
        return function(item)
    except Exception as error:
        text = str(error).strip()
        return Failed(f"{type(error).__name__}: {text}" if text else type(error).__name__, traceback.format_exc())


def names() -> tuple[str, ...]:
    """Returns the sorted names of all executors, `auto` among them."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")))
