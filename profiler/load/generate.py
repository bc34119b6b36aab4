"""The load: every request of a traffic sent when it is due, whatever has become of the others.

One event loop, one connection a request in flight. A request that follows another (closed loop, sessions) is due its think
time after the end of that one; all others at the traffic's own times. Nothing waits for the server: an open loop that the
server cannot follow queues there and not here.
"""

from __future__ import annotations

import asyncio
import gc
import math
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import numpy as np

from profiler.load import client
from profiler.load.client import Reply
from profiler.load.faults import LoadFault, Refused
from profiler.load.lag import Watch, lag_of
from profiler.load.measured import Measured, measured_of
from profiler.load.prompts import FIRST_TOKEN, Prompts
from profiler.load.target import Target
from profiler.load.text import WORDS, Spoken
from simulator.errors import InputError
from simulator.traffic import Traffic

# Between the warm-up and the first arrival: the time to build what is sent first.
LEAD_S = 0.2
SILENCE_S = 120.0
# Descriptors beside those of the streams.
SPARE_FILES = 64


@dataclass(frozen=True)
class Options:
    """How to load: the vocabulary that prompts are drawn from, the server's block size for prompts with content in common.

    `warmup` requests are answered one after another before the first arrival and are not counted; a request is given up
    when nothing comes for `silence_s`; `extra` goes into every request as it is.
    """

    vocabulary: int = 30_000
    block_size: int = 16
    seed: int = 0
    warmup: int = 2
    silence_s: float = SILENCE_S
    extra: Mapping[str, Any] = field(default_factory=dict)


def run(
    target: Target,
    traffic: Traffic,
    rate_rps: float | None = None,
    options: Options | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Measured:
    """Returns what the traffic at a mean rate (None: on its own clock) met at the server; see `run_async`."""
    return asyncio.run(run_async(target, traffic, rate_rps, options, progress))


async def run_async(
    target: Target,
    traffic: Traffic,
    rate_rps: float | None = None,
    options: Options | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Measured:
    """Returns what the traffic at a mean rate met at the server, requests that went wrong among it, told apart.

    Raises LoadFault when already the warm-up is not answered: there is no such server then.
    """
    options = options or Options()
    arrival_s = traffic.at(rate_rps)
    _allow_files(len(traffic))
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, read_bufsize=1 << 16) as session:
        options = await _understood(session, target, options)
        prompts = await _prompts(session, target, traffic, options)
        await _warm_up(session, target, traffic, prompts, options)
        return await _measure(_Run(session, target, traffic, arrival_s.tolist(), prompts, options, progress))


async def _understood(session: aiohttp.ClientSession, target: Target, options: Options) -> Options:
    """Returns the options with what makes answers as long as they are wanted, unless the server refuses that by name."""
    prompt: list[int] | str = [FIRST_TOKEN] if target.prompt == "token_ids" and target.api == "completions" else WORDS[0]
    wanted = replace(options, extra={**client.NO_END, **options.extra})
    reply = Reply(time.perf_counter())
    await client.ask(session, target, client.body(target, prompt, 1, wanted.extra), reply, options.silence_s)
    if reply.fault is None:
        return wanted
    if isinstance(reply.fault, Refused) and any(name in str(reply.fault) for name in client.NO_END):
        return options
    raise reply.fault


async def _prompts(session: aiohttp.ClientSession, target: Target, traffic: Traffic, options: Options) -> Prompts | Spoken:
    if target.prompt == "token_ids":
        if target.api == "chat":
            raise InputError("--prompt", "token_ids", "text, since a chat takes no token ids")
        return Prompts(traffic, options.vocabulary, options.block_size, options.seed)
    if traffic.content is not None:
        raise InputError("workload.prefix", "prompts with content in common", "token ids, since a text's blocks cannot be told")

    async def counted(text: str) -> int:
        reply = Reply(time.perf_counter())
        await client.ask(session, target, client.body(target, text, 1, options.extra), reply, options.silence_s)
        if reply.fault is not None:
            raise reply.fault
        if reply.prompt_tokens is None:
            raise InputError("--prompt", "text", "token_ids, since this server does not count the tokens of a prompt")
        return reply.prompt_tokens

    return await Spoken.calibrated(traffic, counted, options.seed)


async def _warm_up(
    session: aiohttp.ClientSession, target: Target, traffic: Traffic, prompts: Prompts | Spoken, options: Options
) -> None:
    """Returns when as many requests as asked for were answered; their prompts are like the traffic's first, turned around."""
    for number in range(min(options.warmup, len(traffic))):
        reply = Reply(time.perf_counter())
        prompt = _backwards(prompts.tokens(number))
        tokens = min(int(traffic.output_tokens[number]), 8)
        await client.ask(session, target, client.body(target, prompt, tokens, options.extra), reply, options.silence_s)
        if reply.fault is not None:
            raise reply.fault


def _backwards(prompt: list[int] | str) -> list[int] | str:
    """Returns a prompt as long that has no beginning in common with it."""
    return " ".join(reversed(prompt.split())) if isinstance(prompt, str) else prompt[::-1]


@dataclass
class _Run:
    session: aiohttp.ClientSession
    target: Target
    traffic: Traffic
    arrival_s: list[float]
    prompts: Prompts | Spoken
    options: Options
    progress: Callable[[int, int], None]


async def _measure(run: _Run) -> Measured:
    # Before the first request is due, since a whole collection takes longer than a request may be late.
    with _no_collections():
        return await _sent(run)


async def _sent(run: _Run) -> Measured:
    """Returns what came of all requests, each of which is sent when it is due."""
    traffic = run.traffic
    followers: dict[int, list[int]] = {}
    for request, leader in enumerate(traffic.after.tolist()):
        followers.setdefault(leader, []).append(request)
    replies: list[Reply | None] = [None] * len(traffic)
    start = time.perf_counter() + LEAD_S
    finished = 0

    async def one(request: int, due: float) -> None:
        nonlocal finished
        reply = replies[request] = Reply(due)
        document = _document(run, request)
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        await _until(run, request, reply, document)
        finished += 1
        run.progress(finished, len(traffic))
        for follower in followers.get(request, ()):
            tasks.create_task(one(follower, reply.end_s + float(traffic.think_s[follower])))

    async with Watch() as watch, asyncio.TaskGroup() as tasks:
        for request in followers.get(-1, ()):
            # A request is built shortly before it is due, so that memory holds no more than are in flight.
            await asyncio.sleep(max(start + run.arrival_s[request] - LEAD_S - time.perf_counter(), 0))
            tasks.create_task(one(request, start + run.arrival_s[request]))
    assert all(reply is not None for reply in replies), "every request follows one that ended"
    told = [reply for reply in replies if reply is not None]
    late_s = np.array([reply.sent_s - reply.due_s for reply in told])
    return measured_of(run.target, traffic, told, start, lag_of(late_s, watch.late_s))


def _document(run: _Run, request: int) -> dict[str, Any]:
    extra = dict(run.options.extra)
    priority = int(run.traffic.priority[request])
    if priority:
        extra["priority"] = priority
    prompt = run.prompts.tokens(request)
    return client.body(run.target, prompt, int(run.traffic.output_tokens[request]), extra)


async def _until(run: _Run, request: int, reply: Reply, document: dict[str, Any]) -> None:
    """Returns when the request is answered, has gone wrong, or was dropped by its user or its deadline."""
    patience = float(run.traffic.cancel_after_s[request])
    limit = None if math.isinf(patience) else max(reply.due_s + patience - time.perf_counter(), 0)
    try:
        async with asyncio.timeout(limit):
            await client.ask(run.session, run.target, document, reply, run.options.silence_s)
    except TimeoutError:
        reply.dropped = True


@contextmanager
def _no_collections() -> Iterator[None]:
    """Keeps the garbage collector from stopping the loop for milliseconds in the middle of a run."""
    was = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was:
            gc.enable()


def _allow_files(streams: int) -> None:
    """Raises the process's limit of open files as far as the streams may need it and the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = streams + SPARE_FILES
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


__all__ = ["LoadFault", "Measured", "Options", "run", "run_async"]
