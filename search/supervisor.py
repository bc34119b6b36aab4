"""A process that is to run as long as this one: started again when it dies, ever later while it keeps dying, and ended with us."""

from __future__ import annotations

import ctypes
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

LOG = logging.getLogger("trimtab.server")
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
# Who has run so long is well: the next death waits as the first one did.
WELL_S = 60.0
END_S = 10.0
_PR_SET_PDEATHSIG = 1


class Supervisor:
    """Runs a command from `with` to its end."""

    def __init__(self, command: Sequence[str], first_wait_s: float = FIRST_WAIT_S) -> None:
        self.command, self.first_wait_s = list(command), first_wait_s
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def __enter__(self) -> Self:
        """Starts the command and returns the supervisor."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Asks the command to end, and kills it when it does not in seconds."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        wait_s = self.first_wait_s
        while not self._over.is_set():
            began = time.monotonic()
            self.starts += 1
            self.process = subprocess.Popen(self.command, preexec_fn=_end_with_parent, start_new_session=True)
            LOG.info("worker started", extra={"pid": self.process.pid, "starts": self.starts})
            while self.process.poll() is None and not self._over.wait(0.1):
                pass
            if self._over.is_set():
                break
            wait_s = self.first_wait_s if time.monotonic() - began > WELL_S else wait_s
            LOG.error("worker died", extra={"status": self.process.returncode, "again_in_s": wait_s})
            self._over.wait(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        self._end()

    def _end(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            LOG.error("worker killed", extra={"pid": self.process.pid})
            self.process.kill()
            self.process.wait()


def _end_with_parent() -> None:
    """Has the kernel end this process when its parent is killed, which can then end nobody."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
