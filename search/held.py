"""Holding a job: its lease is renewed from a thread while the study runs, and a cancel or a lost lease is noticed."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from pathlib import Path
from typing import Self

from db import jobs
from db.rows import JobRow
from db.session import Store
from simulator.errors import StoreError

LEASE_S = 30.0
# How often a cancel is looked for; with what executors take to stop, a study ends within two seconds of it.
LOOK_S = 0.5
log = logging.getLogger("trimtab.worker")


class Held:
    """A job that this process holds, from `with` to its end."""

    def __init__(self, store: Store, job: JobRow, lease_s: float = LEASE_S, look_s: float = LOOK_S) -> None:
        self.store, self.job, self.lease_s, self.look_s = store, job, lease_s, look_s
        self.beat: jobs.Beat = "held"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"lease-{job.study_id}", daemon=True)

    @property
    def cancelled(self) -> bool:
        """Whether the study is to be cancelled."""
        return self.beat == "cancel"

    @property
    def lost(self) -> bool:
        """Whether another worker may be running the study."""
        return self.beat == "lost"

    def ending(self) -> bool:
        """Returns whether the study is not to go on here, for either reason."""
        return self.beat != "held"

    def _watch(self) -> None:
        renewed, look_s = time.monotonic(), min(self.look_s, self.lease_s / 6)
        away = False
        while not self._over.wait(look_s) and not self.lost:
            due = time.monotonic() - renewed >= self.lease_s / 3
            try:
                self.beat = jobs.heartbeat(self.store, self.job, self.lease_s) if due else jobs.look(self.store, self.job)
                renewed, away = (time.monotonic() if due else renewed), False
            except StoreError as error:
                # Whether the lease is still held is judged by the store in every write; here it is only tried again.
                if not away:
                    log.warning("the lease of %s cannot be renewed: %s", self.job.study_id, error)
                away = True

    def __enter__(self) -> Self:
        """Returns the held job, whose lease is renewed from now on."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Ends the renewal; the job stays whose it is."""
        self._over.set()
        self._thread.join(timeout=self.lease_s)


def this_process() -> str:
    """Returns a name of this process that no other one has: host, process id, and when it began."""
    return f"{socket.gethostname()}/{os.getpid()}/{_began(os.getpid())}"


def is_gone(holder: str) -> bool:
    """Returns whether a holder is known to be dead: a process that was on this machine and is not any more."""
    host, _, rest = holder.partition("/")
    pid, _, began = rest.partition("/")
    if host != socket.gethostname() or not pid.isdigit() or not began.partition("/")[0]:
        return False
    return _began(int(pid)) != began.partition("/")[0]


def _began(pid: int) -> str:
    """Returns when a process began, in the kernel's ticks within its namespace of processes; empty where nobody tells."""
    try:
        space = os.readlink("/proc/self/ns/pid").strip("pid:[]")
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return "gone" if Path("/proc/self/stat").exists() else ""
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    # A zombie has ended, only its parent has not looked.
    return "gone" if fields[0] == "Z" else f"{space}.{fields[19]}"
