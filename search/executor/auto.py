"""Chooses the executor: threads for work of minutes, which use all cores of this machine as well; Ray beyond, or for a cluster."""

from __future__ import annotations

import importlib
import os
import threading
from typing import Self

from search.executor import Executor, names
from simulator.errors import unknown_name

LONG_WORK_S = 600.0


def choose(
    name: str = "auto", work_seconds: float | None = None, address: str | None = None, field: str = "executor"
) -> tuple[Executor, str]:
    """Returns the executor called `name`, and a sentence that says which runs and why.

    The caller closes it. `auto` decides by the CPU seconds that the work is expected to take (None: unknown) and by a
    Ray address, which is `address` or RAY_ADDRESS. Raises InputError under `field`, listing the choices, for an unknown
    name.
    """
    with Pool(name, address, field) as pool:
        chosen, sentence = pool.get(work_seconds)
        pool.hand_over()
    return chosen, sentence


class Pool:
    """The executors of a process that runs study after study: each is started when first needed and kept."""

    def __init__(self, name: str = "auto", address: str | None = None, field: str = "executor") -> None:
        """Raises InputError under `field`, listing the choices, for an unknown name."""
        if name not in names():
            raise unknown_name(field, name, names())
        self.name = name
        self.address = address or os.environ.get("RAY_ADDRESS") or None
        self._started: dict[str, Executor] = {}
        self._lock = threading.Lock()

    def get(self, work_seconds: float | None = None) -> tuple[Executor, str]:
        """Returns the executor for work of so many CPU seconds, and a sentence that says which runs and why."""
        chosen, reason = _decide(work_seconds, self.address) if self.name == "auto" else (self.name, "as asked")
        with self._lock:
            if chosen not in self._started:
                self._started[chosen] = importlib.import_module(f"search.executor.{chosen}").create(self.address)
            executor = self._started[chosen]
        return executor, f"{chosen} ({executor.workers} at a time): {reason}"

    def hand_over(self) -> None:
        """Leaves it to the caller to close what was started."""
        self._started.clear()

    def close(self) -> None:
        """Closes every executor that was started; a later `get` starts anew."""
        with self._lock:
            started, self._started = self._started, {}
        for executor in started.values():
            executor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _decide(work_seconds: float | None, address: str | None) -> tuple[str, str]:
    if address is not None:
        return "ray", f"a Ray address is configured ({address})"
    if work_seconds is None:
        return "threads", "no Ray address is configured"
    if work_seconds > LONG_WORK_S:
        return "ray", f"about {work_seconds:.0f} s of CPU work is longer than {LONG_WORK_S:.0f} s"
    return "threads", f"about {work_seconds:.1f} s of CPU work is less than Ray pays back"
