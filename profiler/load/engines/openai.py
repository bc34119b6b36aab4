"""Any server with OpenAI's API that runs already, here or elsewhere: its URL is all that is known of it, and it is left running."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

from profiler.load.engines import Launch, Served
from profiler.load.engines._ready import wait_ready
from profiler.load.engines.faults import EngineFault
from simulator.errors import MISSING, InputError

READY_S = 30.0


@contextmanager
def serve(launch: Launch) -> Iterator[Served]:
    """Yields the server at `launch.url`, with or without `/v1`, when it has answered a request of one token."""
    began = time.monotonic()
    served = Served(url=base(launch.url), model=launch.model, api=launch.api, prompt=launch.prompt, api_key=launch.api_key)
    until = began + (READY_S if launch.ready_s is None else launch.ready_s)
    wait_ready(served, until, _never, health=False)
    yield replace(served, ready_after_s=time.monotonic() - began)


def base(url: str | None) -> str:
    """Returns a URL without `/v1` at its end; raises InputError for what is not one of HTTP."""
    allowed = "http://HOST:PORT or https://HOST"
    if url is None:
        raise InputError("url", MISSING, allowed)
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise InputError("url", url, allowed)
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def _never() -> EngineFault | None:
    return None
