"""A server with OpenAI's API whose every answer is scripted: it stamps what it sends, and misbehaves on demand."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from profiler.load.target import Target


@dataclass
class Fake:
    """`first_s` after a request its first token goes out, the next ones `gap_s` apart; `fault` is how it misbehaves once it has
    answered `healthy` requests."""

    first_s: float = 0.02
    gap_s: float = 0.005
    fault: str | None = None
    healthy: int = 0
    bundle: int = 1
    counts: bool = True
    times: dict[str, list[float]] = field(default_factory=dict)
    arrived: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    flying: int = 0
    most: int = 0

    async def completions(self, request: web.Request) -> web.StreamResponse:
        """Returns the scripted answer."""
        now, body = time.perf_counter(), await request.json()
        self.arrived.append((now, body))
        self.flying += 1
        self.most = max(self.most, self.flying)
        try:
            return await self._answer(request, body, self.fault if len(self.arrived) > self.healthy else None)
        finally:
            self.flying -= 1

    async def _answer(self, request: web.Request, body: dict[str, Any], fault: str | None) -> web.StreamResponse:
        if fault == "500":
            return web.json_response({"error": {"message": "out of luck"}}, status=500)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if fault == "silent":
            await asyncio.sleep(30)
        await asyncio.sleep(self.first_s)
        chat, tokens = "messages" in body, body["max_tokens"]
        asked = json.dumps(body.get("prompt") or body["messages"])
        if chat:
            await self._send(response, {"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})
        for sent in range(0, tokens, self.bundle):
            if sent:
                await asyncio.sleep(self.gap_s)
            count = min(self.bundle, tokens - sent)
            if fault == "malformed" and sent == 2:
                await response.write(b"data: {this is no JSON\n\n")
                continue
            if fault == "dies" and sent == 2:
                assert request.transport is not None
                request.transport.abort()
                return response
            end = "length" if sent + count >= tokens else None
            text = {"delta": {"content": " x" * count}} if chat else {"text": " x" * count}
            self.times.setdefault(asked, []).append(time.perf_counter())
            await self._send(response, {"choices": [{**text, "finish_reason": end}]})
        if self.counts:
            length = len(body["messages"][0]["content"].split()) + 5 if chat else len(body["prompt"])
            length = len(body["prompt"].split()) if isinstance(body.get("prompt"), str) else length
            usage = {"prompt_tokens": length, "completion_tokens": tokens, "total_tokens": length + tokens}
            await self._send(response, {"choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _send(self, response: web.StreamResponse, document: dict[str, Any]) -> None:
        await response.write(b"data: " + json.dumps(document).encode() + b"\n\n")


@asynccontextmanager
async def serving(fake: Fake, **how: Any) -> AsyncIterator[Target]:
    """Yields where a fake server listens."""
    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/v1/completions", fake.completions)
    app.router.add_post("/v1/chat/completions", fake.completions)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield Target(f"http://127.0.0.1:{port}", "fake", **how)
    finally:
        await runner.cleanup()
