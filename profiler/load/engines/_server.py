"""What the engines that are started here have in common: a port, a process, readiness, and the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from profiler.load.engines import Launch, Served
from profiler.load.engines._log import fault_of
from profiler.load.engines._port import HOST, free_port, is_others
from profiler.load.engines._process import Process
from profiler.load.engines._ready import wait_ready
from profiler.load.engines.faults import EngineFault, NeverReady, PortTaken, ServerError
from simulator.errors import MISSING, InputError

PORTS_TRIED = 3
READY_S = 1200.0
# What a server's end may take to be noticed after a connection to it broke.
NOTICE_S = 0.3


@contextmanager
def started(name: str, launch: Launch) -> Iterator[Served]:
    """Yields a server of the engine called `name`, started by `launch.command`; when its port is taken, another is tried."""
    if launch.command is None:
        raise InputError("command", MISSING if launch.url is None else launch.url, f"the command that starts {name}")
    began = time.monotonic()
    until = began + (READY_S if launch.ready_s is None else launch.ready_s)
    with ExitStack() as stack:
        for left in reversed(range(PORTS_TRIED)):
            port = free_port()
            process = Process(launch.command(port), _log(name, launch.folder), launch.environment, launch.grace_s)
            stack.push(process)
            served = _served(launch, port, process)
            try:
                _wait(served, port, process, until)
                break
            except PortTaken:
                process.close()
                if not left:
                    raise
        try:
            yield replace(served, ready_after_s=time.monotonic() - began)
        except Exception as error:
            _raise_if_ended(process, error)
            raise
        _raise_if_ended(process, None)


def _raise_if_ended(process: Process, error: Exception | None) -> None:
    ended = process.fault(NOTICE_S)
    if ended is not None:
        raise ended from error


def _wait(served: Served, port: int, process: Process, until: float) -> None:
    """Returns when the server is ready, or raises with what its log says."""

    def wrong() -> EngineFault | None:
        # Asked before and after each request: whoever else has the port would be measured in the server's place.
        ended = process.fault()
        if ended is None and is_others(port, process.root):
            return PortTaken(f"port {port} is another server's", process.log)
        return ended

    try:
        wait_ready(served, until, wrong)
    except EngineFault as error:
        # A server that is about to end may have answered wrongly first.
        fault = (error if error.log else process.fault(NOTICE_S)) or _with_log(error, process.log)
        raise fault from None
    found = wrong()
    if found is not None:
        raise found


def _with_log(error: EngineFault, log: Path) -> EngineFault:
    """Returns the fault of a server that still runs, with what its log says: a GPU without memory explains every answer."""
    if isinstance(error, NeverReady | ServerError):
        return fault_of(error.reason, log, type(error))
    return type(error)(error.reason, log)


def _served(launch: Launch, port: int, process: Process) -> Served:
    return Served(
        url=f"http://{HOST}:{port}",
        model=launch.model,
        api=launch.api,
        prompt=launch.prompt,
        api_key=launch.api_key,
        log=process.log,
        fault=process.fault,
    )


def _log(name: str, folder: Path) -> Path:
    """Returns the path of a log that is not there yet: NAME.log, NAME-2.log, ..."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("folder", str(folder), f"a folder that can be written ({error.strerror})") from None
    number, path = 1, folder / f"{name}.log"
    while path.exists():
        number += 1
        path = folder / f"{name}-{number}.log"
    return path
