"""`transformers serve` with a stamp on every request and every piece of every answer, written as JSON lines.

    python stamped_serve.py STAMPS.jsonl MODEL --port PORT

Stamps are those of the process that serves, from the clock that all processes of a Linux machine share.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Stamped:
    """An ASGI application around another one."""

    def __init__(self, app: Any, path: str) -> None:
        self._app, self._file = app, open(path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115 (open as long as it serves)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Passes everything on, the time of each message kept."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        stamps: dict[str, Any] = {"arrived": time.perf_counter(), "request": "", "pieces": []}

        async def received() -> Message:
            message = await receive()
            stamps["request"] += message.get("body", b"").decode()
            return message

        async def sent(message: Message) -> None:
            stamps["pieces"].append((time.perf_counter(), message.get("body", b"").decode()))
            await send(message)

        await self._app(scope, received, sent)
        self._file.write(json.dumps(stamps) + "\n")


def main() -> None:
    """Serves until it is told to end."""
    stamps, model, *rest = sys.argv[1:]
    load = uvicorn.Config.load

    def loaded(config: uvicorn.Config) -> None:
        load(config)
        config.loaded_app = Stamped(config.loaded_app, stamps)

    uvicorn.Config.load = loaded  # type: ignore[assignment, method-assign]
    from transformers.cli.transformers import main as transformers

    sys.argv = ["transformers", "serve", model, "--device", "cpu", *rest]
    transformers()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
