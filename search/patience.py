"""Patience with a database that is away for a while: restarted, locked, or without room."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from simulator.errors import StoreError

P = ParamSpec("P")
T = TypeVar("T")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
# How long stops are waited for at a time while pausing.
_POLL_S = 0.2
log = logging.getLogger("trimtab.store")


def _never() -> bool:
    return False


class Patience:
    """Calls again what failed for a reason that passes, with growing pauses, for so many seconds; each write is idempotent."""

    def __init__(self, seconds: float, stop: Callable[[], bool] = _never) -> None:
        """Takes how long to go on trying, and a question whether to give up at once."""
        self.seconds, self.stop = seconds, stop

    def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Returns what the function returns; raises its StoreError when that does not pass, or not in time."""
        until, pause = time.monotonic() + self.seconds, FIRST_PAUSE_S
        while True:
            try:
                return function(*args, **kwargs)
            except StoreError as error:
                if not error.passing or time.monotonic() + pause > until or self.stop():
                    raise
                log.warning("%s; tried again in %.1f s", error, pause)
                self._pause(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self.stop():
            time.sleep(min(left, _POLL_S))
