"""Threads of this process: nothing to start, nothing to copy. The compiled loops release the GIL."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice

from search.breaking import breakable
from search.executor import GRACE_S, Executor, Failed, Item, Result, attempt

# Enough queued work to keep a thread from idling while the caller handles a result, little enough to stop at once.
_QUEUED_PER_WORKER = 2
_POLL_S = 0.2


class Threads(Executor):
    """Runs items on as many threads as the process may use cores, unless told how many."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or usable_cores()
        self._abandoned = False
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="trimtab")

    def map_unordered(
        self, function: Callable[[Item], Result], items: Sequence[Item], *, stop: Callable[[], bool]
    ) -> Iterator[tuple[int, Result | Failed]]:
        """Yields every item's index and result as it finishes."""
        running: dict[Future[Result | Failed], int] = {}
        todo = iter(enumerate(items))
        left = threading.Event()
        until = math.inf
        try:
            while time.monotonic() < until:
                if until == math.inf and stop():
                    until = time.monotonic() + GRACE_S
                    running = {future: index for future, index in running.items() if not future.cancel()}
                if until == math.inf:
                    for index, item in islice(todo, _QUEUED_PER_WORKER * self.workers - len(running)):
                        running[self._pool.submit(_attempt, left.is_set, function, item)] = index
                if not running:
                    return
                for future in wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        finally:
            left.set()
            self._abandoned = self._abandoned or bool(running)
            for future in running:
                future.cancel()

    def close(self) -> None:
        """Ends the threads, once the items that are running end; does not wait for those that were abandoned."""
        self._pool.shutdown(wait=not self._abandoned, cancel_futures=True)


def _attempt(left: Callable[[], bool], function: Callable[[Item], Result], item: Item) -> Result | Failed:
    with breakable(left):
        return attempt(function, item)


def usable_cores() -> int:
    """Returns how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def create(address: str | None = None) -> Threads:
    """Returns the executor; it has no address."""
    return Threads()
