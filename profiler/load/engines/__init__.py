"""Engines that can be loaded: one file each, which brings a server up, says when it is ready, and takes it away.

`serve(launch)` is a context manager. Entering it starts the server, where there is one to start, waits until it answers
its health address and a streamed request of one token, and yields `Served`: a Target, so that whatever loads a Target loads
it. Leaving it, however it is left, ends the server and every process that it started, and waits until they are gone. They
also end when this process is killed, even by SIGKILL.

The caller owns the command line: `launch.command(port)` returns it for a port that the adapter has found free, and knobs
are in it already (`deploy.launch` renders them; this room does not know a Deployment). Standard output and error of the
server go to a file of their own in `launch.folder`, which stays; `Served.log` names it.

All that goes wrong is an EngineFault (`faults.py` is headed by their tree), whose `kind` is stored and whose text is one
line: it ends with the last lines of the log and the log's path. Entering raises when the server cannot be started, ends,
runs out of GPU memory, is not ready in `launch.ready_s` or answers what OpenAI's API does not. A server that ends while
it is in use raises nothing then: `Served.fault()` returns it, for whoever wants to stop early, and leaving raises it, in
place of whatever the block raised. What was measured before stays with the caller.

The file's name is the engine's name in requests; there is no registry.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, cast

from profiler.load.engines.faults import EngineFault
from profiler.load.target import Target
from simulator.errors import unknown_name

Command = Callable[[int], Sequence[str]]


@dataclass(frozen=True)
class Launch:
    """What is to be served: what clients call the model, and a command (`vllm`, `sglang`, `torch`) or a URL (`openai`).

    `command` returns the arguments for a port. `environment` is set beside this process's own. Times are in seconds:
    `ready_s` from the start until the server must be ready (None: 20 minutes for what is started here, 30 s for what runs
    already), `grace_s` from SIGTERM to SIGKILL.
    """

    model: str
    folder: Path
    command: Command | None = None
    url: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    ready_s: float | None = None
    grace_s: float = 15.0
    api: Literal["completions", "chat"] = "completions"
    prompt: Literal["token_ids", "text"] = "token_ids"
    api_key: str | None = field(default=None, repr=False)


def _well() -> EngineFault | None:
    return None


@dataclass(frozen=True)
class Served(Target):
    """A Target that is ready: its log where it was started here, the seconds that took, and whether it has ended since."""

    log: Path | None = None
    ready_after_s: float = 0.0
    fault: Callable[[], EngineFault | None] = field(default=_well, repr=False, compare=False)


class Engine(Protocol):
    """What the file of an engine provides."""

    def serve(self, launch: Launch) -> AbstractContextManager[Served]:
        """Yields the server when it is ready; raises EngineFault, or InputError for a Launch without what the engine needs."""


def engine(name: str, field: str = "engine") -> Engine:
    """Returns the engine of that name; raises InputError under `field`, listing the choices."""
    if name not in names():
        raise unknown_name(field, name, names())
    return cast(Engine, importlib.import_module(f"{__name__}.{name}"))


def names() -> tuple[str, ...]:
    """Returns the sorted names of all engines."""
    files = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return tuple(sorted(name for name in files if not name.startswith("_") and name != "faults"))
