"""Serving: an engine built from what was asked for, behind a socket, until the process is told to end."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from profiler.engine import architecture, build, steplog
from profiler.engine.engine import Engine
from profiler.engine.failure import EngineFailed
from profiler.engine.followers import together
from profiler.engine.graphs._choice import COLUMNS
from profiler.engine.parallel import ALONE, Group
from profiler.engine.server import application
from profiler.engine.settings import Settings
from profiler.engine.worker import Worker
from simulator.errors import InputError

# What a client that is still connected when the server ends may take to leave.
FAREWELL_S = 3


@dataclass(frozen=True)
class Choice:
    """What to serve (a checkpoint's folder, or a config for random weights), under which name, with which knobs, and where."""

    model_path: Path | None = None
    random: str | None = None
    name: str | None = None
    knobs: Mapping[str, Any] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 8000
    steps: Path | None = None

    @property
    def served_name(self) -> str:
        """What clients call the model: its given name, else the folder's or the config's."""
        return self.name or (self.model_path.resolve().name if self.model_path is not None else str(self.random))


def serve(choice: Choice, ready: Callable[[str, str], None]) -> None:
    """Returns when the server has ended; `ready` is told the address and what is served once it listens.

    Raises EngineFailed where the engine has ended by itself.
    """
    settings = Settings.parse(choice.knobs, "--set")
    make = partial(built, choice, settings)
    stages = settings.pipeline_parallel_size
    with _listening(choice.host, choice.port) as sock, together(make, settings.tensor_parallel_size, stages) as engine:
        worker = Worker(engine)
        app = application(worker, choice.served_name, seed=settings.seed, at_end=lambda: _write(choice.steps, engine))
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=FAREWELL_S)
        host, port = sock.getsockname()[:2]
        limits = engine.driver.limits
        told = f"{choice.served_name} on {engine.runner.device}, {settings.scheduler}, {limits.kv_blocks:,} KV blocks"
        ready(f"http://{host}:{port}", told)
        server = uvicorn.Server(config)
        worker.on_failure = partial(setattr, server, "should_exit", True)
        server.run(sockets=[sock])
        if worker.failure is not None:
            raise EngineFailed(worker.reason)


def built(choice: Choice, settings: Settings, group: Group = ALONE) -> Engine:
    """Returns the engine that was chosen, in one process of its group."""
    record = choice.steps is not None
    if choice.model_path is not None:
        return build.from_checkpoint(choice.model_path, settings, group, record=record)
    return build.with_random_weights(architecture.of_name(str(choice.random)), settings, group, record=record)


def _listening(host: str, port: int) -> socket.socket:
    """Returns a socket that listens, so that whoever is told of the address can connect at once."""
    try:
        return socket.create_server((host, port), backlog=1024)
    except (OSError, OverflowError) as error:
        raise InputError("--host and --port", f"{host}:{port}", f"an address that is free here ({error})") from None


def _write(steps: Path | None, engine: Engine) -> None:
    """Writes the step log, and beside it what else the engine has to tell."""
    if steps is None or engine.recorder is None:
        return
    with steps.open("w", newline="", encoding="utf-8") as file:
        steplog.write(file, engine.recorder.log())
    if told := report(engine):
        steps.with_suffix(".report.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def report(engine: Engine) -> dict[str, Any]:
    """Returns what was measured and chosen of graphs, and what verification took, where an engine has them."""
    told: dict[str, Any] = {}
    if engine.runner.graph_report:
        told["graphs"] = [dict(zip(COLUMNS, row, strict=True)) for row in engine.runner.graph_report]
    if engine.verifier is not None:
        told["verification"] = asdict(engine.verifier.counts)
    return told
