"""Our own serving engine, run by this very Python."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from profiler.load.engines import Launch, Served
from profiler.load.engines._server import started

# Not the `trimtab` of the PATH, which may be another installation, or none.
_ENTRY = "from search.cli import entry; entry()"


def serve(launch: Launch) -> AbstractContextManager[Served]:
    """Yields the server when it is ready; `trimtab` as the command's program stands for this installation."""
    command = launch.command
    if command is None:
        return started("torch", launch)
    return started("torch", replace(launch, command=lambda port: _own(command(port))))


def _own(argv: Sequence[str]) -> list[str]:
    return [sys.executable, "-c", _ENTRY, *argv[1:]] if argv and argv[0] == "trimtab" else list(argv)
