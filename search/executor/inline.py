"""One item after another in the caller's thread: the plainest executor, for tests and for debugging."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from search.breaking import BrokenOff, breakable
from search.executor import Executor, Failed, Item, Result, attempt


class Inline(Executor):
    """Runs items in order, in the calling thread."""

    def map_unordered(
        self, function: Callable[[Item], Result], items: Sequence[Item], *, stop: Callable[[], bool]
    ) -> Iterator[tuple[int, Result | Failed]]:
        """Yields every item's index and result, in the items' order."""
        for index, item in enumerate(items):
            if stop():
                return
            try:
                with breakable(stop):
                    result = attempt(function, item)
            except BrokenOff:
                return
            yield index, result


def create(address: str | None = None) -> Inline:
    """Returns the executor; it has no address."""
    return Inline()
