"""One FastAPI application and the worker beside it: what `trimtab serve` runs.

The dashboard goes on the same application, by `extend` of `search.api.app.application`, which puts it after the routes of
the API.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from types import FrameType

import uvicorn
from fastapi import FastAPI

from search.api import logs
from search.api.access import Access
from search.api.app import application
from search.api.compressed import Compressed
from search.api.state import Limits
from search.supervisor import Supervisor

# An open stream of events would hold up the end; who follows one resumes it.
GRACE_S = 2
# The files of `search.api.routes` that the pages link to, or send files to.
LINKED = frozenset({"catalog", "exports", "launch", "traces"})


def build(db: str, limits: Limits | None = None, access: Access | None = None, only: str | None = None) -> FastAPI:
    """Returns the web application on the store at `db`: REST and the pages, `only` "api" or "dashboard" one of them."""
    if only == "api":
        return application(db, limits, access=access)
    from dashboard.app import mount

    def extend(app: FastAPI) -> None:
        mount(app, lambda: app.state.service.store, with_keys=access is not None and access.on)
        app.add_middleware(Compressed)

    return application(db, limits, extend=extend, access=access, routes=LINKED if only == "dashboard" else None)


class Server(uvicorn.Server):
    """A server that says in one line where it listens, once it does."""

    def __init__(self, config: uvicorn.Config, says: str) -> None:
        super().__init__(config)
        self._says = says

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, and says so."""
        await super().startup(sockets)
        if self.started:
            print(self._says, flush=True)


def run(app: FastAPI, listening: socket.socket, says: str, worker: Sequence[str] | None) -> None:
    """Serves until SIGTERM or SIGINT, with the worker's command as a process that is started again when it dies."""
    logs.to_standard_error()
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=GRACE_S)
    with _calm(), contextlib.ExitStack() as stack:
        if worker is not None:
            stack.enter_context(Supervisor(worker))
        Server(config, says).run(sockets=[listening])


@contextlib.contextmanager
def _calm() -> Iterator[None]:
    """Has the signals that end the server end it and nothing else: uvicorn raises them once more when it is done."""

    def heed(number: int, frame: FrameType | None) -> None:
        """Does nothing: whoever serves has ended already."""

    before = {number: signal.signal(number, heed) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that is bound to host and port; 0 is any free port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def worker_command(db: str, to_private: bool = False) -> list[str]:
    """Returns the command line of a worker on a store, whose webhooks may lead `to_private` addresses."""
    private = ["--webhooks-to-private"] if to_private else []
    return [sys.executable, "-m", "search.cli", "serve", "--only", "worker", "--db", db, *private]


def work(db: str, to_private: bool = False) -> None:
    """Runs jobs of the store and sends to its webhooks until SIGTERM or SIGINT."""
    from search import worker
    from search.delivering import Sending

    logs.to_standard_error()
    worker.run(worker.Settings(db, sending=Sending(to_private)))
