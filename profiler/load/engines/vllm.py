"""vLLM, started by its own command on this machine."""

from __future__ import annotations

from contextlib import AbstractContextManager

from profiler.load.engines import Launch, Served
from profiler.load.engines._server import started


def serve(launch: Launch) -> AbstractContextManager[Served]:
    """Yields the server when it is ready."""
    return started("vllm", launch)
