"""Ray, on this machine or on a cluster: other processes, other machines, and workers that may die.

A Ray task costs a millisecond and a trial about as much, so items travel in chunks of about a second of work. The size
follows the seconds that items have taken so far. A chunk whose worker dies is retried by Ray; when it keeps dying, its
items are tried one by one, so that only the item that kills its worker is Failed.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

import ray

from search.executor import GRACE_S, Executor, Failed, Item, Result, attempt
from search.executor.threads import usable_cores
from simulator.errors import InputError

CHUNK_S = 1.0
_OBJECT_STORE_BYTES = 128 * 1024 * 1024
_RETRIES = 2
_POLL_S = 0.2
_CONNECT_S = 5.0
_FIELD = "RAY_ADDRESS"
_ADDRESS = "auto, or host:port of a Ray cluster that answers"
_QUEUED_PER_WORKER = 2
# How often the cores are counted: the nodes of a cluster come and go, and come because more waits than runs.
_COUNT_S = 1.0
_ROOT = Path(__file__).resolve().parents[2]
_ROOMS = ("simulator", "db", "profiler", "deploy", "search")


class RayExecutor(Executor):
    """Runs chunks of items as Ray tasks; starts a local Ray unless there is one, or an address to connect to."""

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        self._started = not ray.is_initialized()
        if self._started:
            start(address, workers or usable_cores())
        self.workers = _cores()
        if self.workers < 1:
            self.close()
            raise InputError(_FIELD, address, "a cluster with at least one CPU")
        self._chunk: Any = ray.remote(num_cpus=1, max_retries=_RETRIES)(_run_chunk)

    def map_unordered(
        self, function: Callable[[Item], Result], items: Sequence[Item], *, stop: Callable[[], bool]
    ) -> Iterator[tuple[int, Result | Failed]]:
        """Yields every item's index and result as its chunk finishes."""
        chunks = _Chunks(items, self.workers)
        shared = ray.put(function)
        running: dict[Any, list[int]] = {}
        until, counted = math.inf, time.monotonic()
        try:
            while time.monotonic() < until:
                if time.monotonic() - counted > _COUNT_S:
                    counted = time.monotonic()
                    self.workers = chunks.workers = max(1, _cores())
                if until == math.inf and stop():
                    until = time.monotonic() + GRACE_S
                while until == math.inf and chunks and len(running) < _QUEUED_PER_WORKER * self.workers:
                    indices = chunks.take()
                    running[self._chunk.remote(shared, [(i, items[i]) for i in indices])] = indices
                if not running:
                    return
                ready, _ = ray.wait(list(running), num_returns=1, timeout=_POLL_S)
                for ref in ready:
                    yield from self._results(ref, running.pop(ref), chunks)
        finally:
            for ref in running:
                with contextlib.suppress(Exception):
                    ray.cancel(ref, force=True)

    def _results(self, ref: Any, indices: list[int], chunks: _Chunks[Any]) -> list[tuple[int, Any]]:
        """Returns the results of a finished chunk; gives the items of one that cannot finish back, to be tried singly."""
        try:
            seconds, results = ray.get(ref)
        except ray.exceptions.RayError as error:
            if len(indices) > 1:
                chunks.again(indices)
                return []
            return [(indices[0], Failed(f"{type(error).__name__}: {_first_line(error)}"))]
        chunks.measured(len(results), seconds)
        return list(results)

    def close(self) -> None:
        """Ends the Ray that was started here, or leaves the cluster that was connected to."""
        if self._started:
            self._started = False
            ray.shutdown()


@dataclass
class _Chunks(Generic[Item]):
    """Which indices go into the next chunk: few at first, then about CHUNK_S of work, but a share for every worker."""

    items: Sequence[Item]
    workers: int
    next_index: int = 0
    size: int = 1
    single: deque[int] = field(default_factory=deque)

    def __bool__(self) -> bool:
        return self.next_index < len(self.items) or bool(self.single)

    def take(self) -> list[int]:
        """Returns the indices of the next chunk."""
        if self.single:
            return [self.single.popleft()]
        left = len(self.items) - self.next_index
        count = max(1, min(self.size, -(-left // self.workers)))
        start, self.next_index = self.next_index, self.next_index + count
        return list(range(start, start + count))

    def measured(self, count: int, seconds: float) -> None:
        """Learns from a chunk of `count` items that took `seconds`; grows fourfold at most, since first items are slow or lucky."""
        fitting = int(CHUNK_S * count / max(seconds, 1e-6))
        self.size = max(1, min(fitting, 4 * self.size))

    def again(self, indices: list[int]) -> None:
        """Puts the items of a lost chunk back, one a chunk."""
        self.single.extend(indices)


def _run_chunk(function: Callable[[Item], Result], entries: list[tuple[int, Item]]) -> tuple[float, list[tuple[int, Any]]]:
    """Returns the seconds that the items took in the worker, and each one's index and result."""
    started = time.perf_counter()
    results = [(index, attempt(function, item)) for index, item in entries]
    return time.perf_counter() - started, results


def _cores() -> int:
    """Returns how many cores the cluster has at this moment."""
    return int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]


def start(address: str | None, cores: int) -> None:
    """Connects to the cluster at an address, or starts a Ray of so many cores on this machine; `ray.shutdown` ends either."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray otherwise warns at every start that it will stop hiding GPUs from tasks that ask for none.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Without it Ray retries for ever what is killed for want of memory.
    os.environ.setdefault("RAY_task_oom_retries", str(_RETRIES))
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if address not in (None, "local"):
        _check_reachable(address)
        # The nodes may have no installation of this project, or another version: the rooms that are needed travel along.
        code = {"py_modules": [str(_ROOT / room) for room in _ROOMS]}
        try:
            ray.init(address=address, runtime_env=code, **quiet)
        except (ConnectionError, ValueError) as error:
            raise InputError(_FIELD, address, f"{_ADDRESS} ({_first_line(error)})") from None
        return
    with _python_path():
        ray.init(
            address="local",
            num_cpus=cores,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            **quiet,
        )


def _check_reachable(address: str) -> None:
    """Raises InputError when nothing listens at the address: Ray itself would try for minutes."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise InputError(_FIELD, address, f"{_ADDRESS} ({_first_line(error)})") from None


@contextlib.contextmanager
def _python_path() -> Iterator[None]:
    """Lets the workers, which inherit the environment, import what this process can import from outside site-packages."""
    before = os.environ.get("PYTHONPATH")
    own = [str(_ROOT), *(entry for entry in sys.path if entry and not entry.startswith((sys.prefix, sys.base_prefix)))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*own, *filter(None, (before or "").split(os.pathsep))]))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")


def create(address: str | None = None) -> RayExecutor:
    """Returns the executor, connected to `address` or to a Ray started on this machine."""
    return RayExecutor(address)
