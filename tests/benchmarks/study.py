"""A 300-trial search as `trimtab search` runs it, on threads and on a Ray of this machine, in wall and in CPU seconds."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil

from db import queries
from db.session import open_store
from search import request as requests
from search import service
from tests.benchmarks.entry import Entry

REQUEST = Path(__file__).with_name("search-300.yaml")
EXECUTORS = ("threads", "ray")


def entries() -> Iterator[Entry]:
    """Yields wall and CPU seconds of the search on each executor, Ray's start and the store included."""
    for executor in EXECUTORS:
        wall, cpu = _searched(executor)
        yield Entry(f"search_300_trials_s_{executor}", wall, "s")
        yield Entry(f"search_300_trials_cpu_s_{executor}", cpu, "CPU s")


def _searched(executor: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        db = str(Path(folder) / "studies.db")
        began, used = time.monotonic(), _cpu_seconds()
        if executor == "ray":
            os.environ.setdefault("RAY_AUTH_MODE", "disabled")
            from search.executor.ray import RayExecutor

            # Started here and not by the service, so that its processes can still be asked for their CPU time at the end.
            stack.enter_context(RayExecutor())
        study = service.run_search(requests.read(REQUEST), db=db, executor=executor)
        wall, cpu = time.monotonic() - began, _cpu_seconds() - used
        with open_store(db) as store:
            trials = len(queries.trials(store, study))
    assert trials == 300, f"{trials} trials"
    return wall, cpu


def _cpu_seconds() -> float:
    """Returns the CPU seconds of this process and of all that it started and that still run."""
    own = psutil.Process()
    total = 0.0
    for process in [own, *own.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
