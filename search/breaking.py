"""Where a trial can be broken off: between two of its simulations, when whoever waits for it has left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class BrokenOff(BaseException):
    """The trial has no taker any more; no Exception, so that nobody mistakes it for an error of the trial."""


def _never() -> bool:
    return False


_ASKED: ContextVar[Callable[[], bool]] = ContextVar("asked", default=_never)


def check() -> None:
    """Raises BrokenOff when the work of this thread is to be broken off."""
    if _ASKED.get()():
        raise BrokenOff


@contextmanager
def breakable(asked: Callable[[], bool]) -> Iterator[None]:
    """Lets the work within be broken off once `asked` returns true."""
    token = _ASKED.set(asked)
    try:
        yield
    finally:
        _ASKED.reset(token)
