"""The HTTP front: /v1/completions with streaming, /v1/models and /health, over a worker."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse

from profiler.engine.engine import Landed
from profiler.engine.protocol import Answer, CompletionRequest, error
from profiler.engine.worker import Ticket, Worker
from simulator.errors import InputError

# How often it is asked whether a client that waits for a whole answer is still there.
LOOK_S = 1.0


def application(worker: Worker, model: str, *, seed: int = 0, at_end: Callable[[], None] = lambda: None) -> FastAPI:
    """Returns the web application of a worker, which is closed with it; `at_end` is called then.

    Requests without a seed of their own take the numbers from `seed` on.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(worker.close)
        at_end()

    app = FastAPI(title="Trimtab engine", lifespan=lifespan)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(InputError, _refused)
    created, seeds = int(time.time()), itertools.count(seed)

    @app.get("/health")
    async def health() -> Response:
        return Response(status_code=200 if worker.alive else 503)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        length = worker.engine.driver.limits.max_model_len
        card = {"id": model, "object": "model", "created": created, "owned_by": "trimtab", "max_model_len": length}
        return {"object": "list", "data": [card]}

    @app.post("/v1/completions", response_model=None)
    async def completions(body: CompletionRequest, request: Request) -> Response:
        if body.model is not None and body.model != model:
            return JSONResponse(error(f"model: {body.model!r} is not served; it is {model!r}", "not_found_error", 404), 404)
        return await _complete(worker, body, Answer(model, len(body.tokens())), next(seeds), request)

    return app


async def _invalid(request: Request, invalid: Exception) -> JSONResponse:
    """Returns the first complaint about a body."""
    assert isinstance(invalid, RequestValidationError)
    first = invalid.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    return JSONResponse(error(f"{place}: {first['msg']}", "invalid_request_error", 400), 400)


async def _refused(request: Request, refused: Exception) -> JSONResponse:
    return JSONResponse(error(str(refused), "invalid_request_error", 400), 400)


async def _complete(worker: Worker, body: CompletionRequest, answer: Answer, seed: int, request: Request) -> Response:
    """Returns the answer to a request that arrives now."""
    out: asyncio.Queue[Landed | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def tell(landed: Landed | None) -> None:
        # A loop that is closed has nobody left to tell.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(out.put_nowait, landed)

    ticket = worker.submit(body.tokens(), body.sampling(seed), tell, body.priority)
    if not body.stream:
        return await _whole(worker, ticket, out, answer, request)
    usage = body.stream_options is not None and body.stream_options.include_usage
    return StreamingResponse(_stream(worker, ticket, out, answer, usage), media_type="text/event-stream")


async def _stream(
    worker: Worker, ticket: Ticket, out: asyncio.Queue[Landed | None], answer: Answer, usage: bool
) -> AsyncIterator[str]:
    """Yields one event a token, as it lands; a client that goes away takes its request out."""
    count, done = 0, False
    try:
        while not done:
            landed = await out.get()
            if landed is None:
                yield _event(error(worker.reason, "server_error", 500))
                return
            count += 1
            done = landed.reason is not None
            yield _event(answer.part([landed.token], landed.reason))
        if usage:
            yield _event({**answer.head, "choices": [], "usage": answer.usage(count, ticket.cached_tokens)})
        yield "data: [DONE]\n\n"
    finally:
        if not done:
            worker.drop(ticket)


async def _whole(worker: Worker, ticket: Ticket, out: asyncio.Queue[Landed | None], answer: Answer, request: Request) -> Response:
    """Returns all tokens in one document; a client that goes away takes its request out."""
    tokens: list[int] = []
    reason = None
    try:
        while reason is None:
            try:
                landed = await asyncio.wait_for(out.get(), LOOK_S)
            except TimeoutError:
                if await request.is_disconnected():
                    return Response(status_code=499)
                continue
            if landed is None:
                return JSONResponse(error(worker.reason, "server_error", 500), 500)
            tokens.append(landed.token)
            reason = landed.reason
    finally:
        if reason is None:
            worker.drop(ticket)
    return JSONResponse({**answer.part(tokens, reason), "usage": answer.usage(len(tokens), ticket.cached_tokens)})


def _event(document: dict[str, Any]) -> str:
    return f"data: {json.dumps(document, separators=(',', ':'))}\n\n"
