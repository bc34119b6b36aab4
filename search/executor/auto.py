"""Chooses the executor: threads for work of minutes, which use all cores of this machine as well; Ray beyond, or for a cluster."""

from __future__ import annotations

import importlib
import os

from search.executor import Executor, names
from simulator.errors import unknown_name

LONG_WORK_S = 600.0


def choose(
    name: str = "auto", work_seconds: float | None = None, address: str | None = None, field: str = "executor"
) -> tuple[Executor, str]:
    """Returns the executor called `name`, and a sentence that says which runs and why.

    `auto` decides by the CPU seconds that the work is expected to take (None: unknown) and by a Ray address, which is
    `address` or RAY_ADDRESS. Raises InputError under `field`, listing the choices, for an unknown name.
    """
    if name not in names():
        raise unknown_name(field, name, names())
    address = address or os.environ.get("RAY_ADDRESS") or None
    chosen, reason = _decide(work_seconds, address) if name == "auto" else (name, "as asked")
    executor: Executor = importlib.import_module(f"search.executor.{chosen}").create(address)
    return executor, f"{chosen} ({executor.workers} at a time): {reason}"


def _decide(work_seconds: float | None, address: str | None) -> tuple[str, str]:
    if address is not None:
        return "ray", f"a Ray address is configured ({address})"
    if work_seconds is None:
        return "threads", "no Ray address is configured"
    if work_seconds > LONG_WORK_S:
        return "ray", f"about {work_seconds:.0f} s of CPU work is longer than {LONG_WORK_S:.0f} s"
    return "threads", f"about {work_seconds:.1f} s of CPU work is less than Ray pays back"
