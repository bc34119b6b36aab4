"""Servers that misbehave as told, started as an engine's adapter starts its engine, and whether anything is left of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from profiler.load.engines import Command, Launch

SERVER = str(Path(__file__).with_name("fake_server.py"))
# Beyond any start on a loaded machine; nothing waits that long unless the server never becomes ready.
READY_S = 90.0


class Fake:
    """The command of a fake server; pickled by value, since Ray's workers do not have the tests."""

    def __init__(self, behaviour: str, *more: str) -> None:
        self.argv = [sys.executable, "-S", SERVER]
        self.behaviour = behaviour
        self.more = more
        self.ports: list[int] = []

    def __call__(self, port: int) -> list[str]:
        self.ports.append(port)
        return [*self.argv, str(port), self.behaviour, *self.more]


def launch(folder: Path, command: Command, ready_s: float = READY_S, grace_s: float = 0.3) -> Launch:
    """Returns what an adapter is asked for."""
    return Launch("m", folder, command=command, ready_s=ready_s, grace_s=grace_s)


def told(path: Path) -> list[int]:
    """Returns the processes that a server has written to a file."""
    return [int(pid) for pid in path.read_text(encoding="utf-8").split()]


def gone(pids: Iterable[int], within_s: float = 60.0) -> bool:
    """Returns whether none of the processes lives any more, at the latest after so many seconds."""
    until = time.monotonic() + within_s
    while any(_lives(pid) for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
