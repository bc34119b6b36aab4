"""A server as a process of ours: started under the guard, its output in a file, ended with all that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from profiler.load.engines import _guard
from profiler.load.engines._log import fault_of, last_lines
from profiler.load.engines.faults import EngineFault, NotStarted

# What the guard may take beyond the grace to collect the dead.
MARGIN_S = 15.0


class Process:
    """A running server; a context manager that ends it."""

    def __init__(self, argv: Sequence[str], log: Path, environment: Mapping[str, str], grace_s: float) -> None:
        self.log = log
        self._wait_s = grace_s + MARGIN_S
        reading, self._pipe = os.pipe()
        # -S -E: the guard needs no site-packages, and the server's environment is not for the guard.
        guard = [sys.executable, "-S", "-E", _guard.__file__, str(reading), str(grace_s), *argv]
        try:
            with log.open("wb") as out:
                self._sentry = subprocess.Popen(
                    guard,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    # Unbuffered, so that the log of a server that is killed ends where it ended.
                    env={"PYTHONUNBUFFERED": "1", **os.environ, **environment},
                    pass_fds=(reading,),
                    start_new_session=True,
                )
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(reading)

    @property
    def root(self) -> int:
        """The process above all of the server's."""
        return self._sentry.pid

    def status(self, wait_s: float = 0.0) -> int | None:
        """Returns the exit status, 128 and the number for a signal, None while it runs; its end is waited for so long."""
        try:
            return self._sentry.wait(wait_s)
        except subprocess.TimeoutExpired:
            return None

    def fault(self, wait_s: float = 0.0) -> EngineFault | None:
        """Returns why the server has ended, None while it runs; its end is looked out for so many seconds."""
        status = self.status(wait_s)
        if status is None:
            return None
        if status == _guard.CANNOT_RUN:
            return NotStarted(last_lines(self.log, 1) or "the program could not be run", self.log)
        return fault_of(f"the server ended {_how(status)}", self.log)

    def close(self) -> None:
        """Ends the server and all that it started, and returns when they are gone; may be called twice."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        try:
            self._sentry.wait(self._wait_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._sentry.pid, signal.SIGKILL)
            self._sentry.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _how(status: int) -> str:
    if status > 128 and status - 128 in set(signal.Signals):
        return f"by {signal.Signals(status - 128).name}"
    return f"with exit status {status}"
