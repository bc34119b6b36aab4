"""Short work for a caller who waits: in processes of its own, so few at a time, and no longer than a limit.

A simulation cannot be asked to stop, so that what takes too long is ended with its process, which also bounds the memory
that a request can take. A process is kept for the next call; the first one compiles nothing but loads what is compiled.
"""

from __future__ import annotations

import multiprocessing
import resource
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from simulator.errors import TrimtabError

MEMORY_BYTES = 8 * 2**30
# A kernel that nobody has compiled takes minutes on a slow machine.
LOADING_S = 600.0


class Full(Exception):
    """Every process is at work."""


class TooLong(Exception):
    """The work took longer than the limit, or more memory than there is, and was ended."""


class Bounded:
    """So many processes that each do one call after the other; safe to share between threads."""

    def __init__(self, places: int, limit_s: float) -> None:
        self.places, self.limit_s = places, limit_s
        self._every = tuple(_Place() for _ in range(places))
        self._free = list(self._every)
        self._lock = threading.Lock()

    @property
    def busy(self) -> int:
        """How many processes are at work."""
        return self.places - len(self._free)

    def call(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Returns `work(*arguments)` as another process worked it out; raises what it raised on purpose, Full or TooLong."""
        with self._lock:
            if not self._free:
                raise Full
            place = self._free.pop()
        try:
            return place.call(work, arguments, self.limit_s)
        finally:
            with self._lock:
                self._free.append(place)

    def interrupt(self) -> None:
        """Ends the processes that are at work: their calls raise TooLong."""
        for place in self._every:
            if place not in self._free:
                place.interrupt()

    def start(self) -> None:
        """Begins to start the processes, which are ready some seconds later, or minutes where nothing is compiled yet."""
        for place in list(self._free):
            threading.Thread(target=place.ready, daemon=True).start()

    @property
    def is_ready(self) -> bool:
        """Whether a process has loaded what it needs."""
        return self.busy > 0 or any(place.loaded for place in self._free)

    def close(self) -> None:
        """Ends the processes."""
        for place in self._free:
            place.end()


class _Place:
    """One process, started when it is first needed and again after it was ended."""

    def __init__(self) -> None:
        self.process: Any = None
        self.pipe: Connection | None = None
        self.loaded = False
        self._starting = threading.Lock()

    def call(self, work: Callable[..., Any], arguments: tuple[Any, ...], limit_s: float) -> Any:
        # What was ended from outside between two calls is begun anew.
        if self.loaded and not self.process.is_alive():
            self.end()
        pipe = self.ready()
        try:
            pipe.send((work, arguments))
            if not pipe.poll(limit_s):
                self.end()
                raise TooLong
            done, value = pipe.recv()
        except (EOFError, OSError):
            self.end()
            raise TooLong from None
        if done:
            return value
        if value is None:
            raise TooLong
        raise value

    def ready(self) -> Connection:
        """Returns the pipe to the process once it has loaded: that is not the time of whoever calls first."""
        with self._starting:
            if self.pipe is None:
                context = multiprocessing.get_context("spawn")
                self.pipe, theirs = context.Pipe()
                self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
                self.process.start()
                theirs.close()
            pipe = self.pipe
            if not self.loaded:
                # Whoever ends the process meanwhile closes the pipe under this thread.
                with suppress(EOFError, OSError, TypeError, ValueError):
                    self.loaded = pipe.poll(LOADING_S) and bool(pipe.recv())
            return pipe

    def interrupt(self) -> None:
        """Kills the process under whoever waits for it, who then ends it."""
        if self.process is not None:
            self.process.kill()

    def end(self) -> None:
        """Ends the process, if there is one."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None
        if self.pipe is not None:
            self.pipe.close()
            self.pipe = None
        self.loaded = False


def _serve(pipe: Connection) -> None:
    """Answers calls until the pipe is closed."""
    import signal

    from simulator.cli import warm_up

    # Ctrl-C is the parent's to heed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warm_up()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    pipe.send("ready")
    while True:
        try:
            work, arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((True, work(*arguments)))
        except TrimtabError as error:
            pipe.send((False, error))
        except MemoryError:
            pipe.send((False, None))
