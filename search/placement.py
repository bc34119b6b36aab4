"""Where a run on a real engine takes place: here, or in an actor of Ray that holds the GPUs of one replica.

What runs is one function without arguments, which starts an engine's adapter and drives the load, so that the load comes
from the machine that the server is on. It is pickled where Ray runs it. An actor's GPUs are its own until it ends; it ends with
the function, when the caller stops or is interrupted, and when time is up. A server that it has started then ends by its
guard (`profiler.load.engines`), within the launch's grace.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from simulator import catalog
from simulator.errors import InputError, Unmeasured
from simulator.spec.deployment import Resolved

Result = TypeVar("Result")
POLL_S = 0.2
# Engines that run already, wherever they do.
ELSEWHERE = ("openai",)
# What Ray sets for a worker, and a server would inherit.
_THREADS = "OMP_NUM_THREADS"


class Displaced(Unmeasured):
    """A run that did not come to its end: `kind` is stored."""

    kind: ClassVar[str] = "displaced"


class Overdue(Displaced):
    """It took longer than it may, the wait for GPUs included."""

    kind = "overdue"


class Withdrawn(Displaced):
    """The caller stopped it."""

    kind = "withdrawn"


@dataclass(frozen=True)
class Place:
    """So many GPUs of one node, of the SKU `device` where the cluster says which it has; `address` is of a Ray cluster."""

    gpus: int = 0
    device: str | None = None
    address: str | None = None

    @property
    def here(self) -> bool:
        """Whether the run takes place in this process."""
        return self.gpus == 0 and self.address is None


def place_of(deployment: Resolved, engine: str, address: str | None = None) -> Place:
    """Returns where a replica of the deployment is measured on an engine; `address` is that of a cluster, else RAY_ADDRESS."""
    if engine in ELSEWHERE:
        return Place()
    on_cpu = catalog.device(deployment.device).vendor == "cpu"
    gpus = 0 if on_cpu else deployment.gpus_per_replica
    return Place(gpus, None if on_cpu else deployment.device, address or os.environ.get("RAY_ADDRESS") or None)


def run(
    function: Callable[[], Result],
    place: Place,
    *,
    timeout_s: float | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Returns what the function returns there, or raises what it raises.

    Raises InputError when no node has the GPUs, Overdue after `timeout_s`, Withdrawn once `stop` is true, and Displaced when
    the worker is lost. A run in this process has no such limits: Ctrl-C ends it, and its function has limits of its own.
    """
    if place.here:
        return function()
    with _ray(place.address):
        resources = _room(place)
        return _in_actor(function, place, resources, timeout_s, stop)


@contextmanager
def _ray(address: str | None) -> Iterator[None]:
    """Has a Ray: the one that is connected to, or one that is started, and ended, for this."""
    import ray

    from search.executor.ray import start
    from search.executor.threads import usable_cores

    if ray.is_initialized():
        yield
        return
    start(address, usable_cores())
    try:
        yield
    finally:
        ray.shutdown()


def _room(place: Place) -> dict[str, float]:
    """Returns what has to be asked for beside GPUs so that Ray takes a node with the device.

    Ray would wait for ever for what no node has, so that raises InputError.
    """
    import ray

    nodes: list[dict[str, float]] = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    kind = _kind(place, nodes)
    most = max((int(node.get("GPU", 0)) for node in nodes if kind is None or kind in node), default=0)
    if most < place.gpus:
        of = f" of a node with {place.device}" if kind else " of a node"
        raise InputError("gpus_per_replica", place.gpus, f"up to the {most} GPUs{of} that Ray knows")
    return {} if kind is None else {kind: 0.001}


def _kind(place: Place, nodes: list[dict[str, float]]) -> str | None:
    """Returns the resource by which nodes say that they have the device, None where they say nothing of devices.

    It is the SKU's name, where whoever runs the cluster has declared it, or Ray's own `accelerator_type:H100`.
    """
    if place.device is None or place.gpus == 0:
        return None
    known = {name for node in nodes for name in node}
    for name in (place.device, f"accelerator_type:{place.device.partition('-')[0]}"):
        if name in known:
            return name
    types = sorted(name.partition(":")[2] for name in known if name.startswith("accelerator_type:"))
    if types:
        raise InputError("device", place.device, f"what the nodes of Ray have: {', '.join(types)}")
    return None


def _in_actor(
    function: Callable[[], Result],
    place: Place,
    resources: dict[str, float],
    timeout_s: float | None,
    stop: Callable[[], bool],
) -> Result:
    import ray

    until = None if timeout_s is None else time.monotonic() + timeout_s
    actor: Any = ray.remote(_Host)
    host = actor.options(num_cpus=1, num_gpus=place.gpus, resources=resources, max_restarts=0).remote()
    try:
        answer: Any = host.run.remote(function, os.environ.get(_THREADS))
        while not ray.wait([answer], timeout=POLL_S)[0]:
            if stop():
                raise Withdrawn("the run was stopped before its end")
            if until is not None and time.monotonic() > until:
                raise Overdue(f"the run was not at its end after {timeout_s:g} s")
        result: Result = ray.get(answer)
        return result
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayActorError as error:
        told = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
        raise Displaced(f"the worker of the run is lost: {told}") from None
    finally:
        ray.kill(host)


class _Host:
    """The actor: a process of its own, which sees the GPUs that it holds and no others."""

    def run(self, function: Callable[[], Any], threads: str | None) -> Any:
        """Returns what the function returns, with the caller's number of threads instead of the one that Ray sets."""
        os.environ.pop(_THREADS, None)
        if threads is not None:
            os.environ[_THREADS] = threads
        return function()
