"""Work that a page waits for without blocking: begun by a button, asked for until it is there, done in a process of its own."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from search.bounded import Bounded, TooLong
from simulator.errors import TrimtabError

LIMIT_S = 60.0
KEPT = 32
_WAITING = 8


@dataclass(frozen=True)
class Answer:
    """What has become of a piece of work: under way, a value, or the line that says why there is none."""

    done: bool
    value: Any = None
    error: str | None = None


class Background:
    """One piece of work at a time, the latest answers kept by their keys; safe to share between threads."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._bounded = Bounded(1, limit_s)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="closer")
        self._kept: OrderedDict[str, Future[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, key: str, work: Callable[..., Any], *arguments: Any) -> None:
        """Begins the work unless it was begun already or too much is waiting; one that failed is begun anew."""
        with self._lock:
            before = self._kept.get(key)
            if before is not None and not (before.done() and before.exception()):
                return
            if sum(not each.done() for each in self._kept.values()) >= _WAITING:
                return
            self._kept[key] = self._pool.submit(self._bounded.call, work, *arguments)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)[1].cancel()

    def answer(self, key: str) -> Answer | None:
        """Returns what has become of the work; None where it was not begun."""
        with self._lock:
            future = self._kept.get(key)
        if future is None or future.cancelled():
            return None
        if not future.done():
            return Answer(False)
        error = future.exception()
        if isinstance(error, TooLong):
            return Answer(True, error=f"It took longer than {self._bounded.limit_s:g} s and was ended.")
        if isinstance(error, TrimtabError):
            return Answer(True, error=str(error))
        if error is not None:
            raise error
        return Answer(True, future.result())

    def cancel(self, key: str) -> None:
        """Drops the work; what runs is ended."""
        with self._lock:
            future = self._kept.pop(key, None)
        if future is not None and not future.cancel() and not future.done():
            # One piece of work runs at a time: that is this one.
            self._bounded.interrupt()

    def close(self) -> None:
        """Ends the process and drops what waits."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._bounded.close()


SHARED = Background()
