"""One request and its stream: when each of its tokens came, and what the server counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from profiler.load.events import Events
from profiler.load.faults import LoadFault, Lost, Malformed, Refused, Silent
from profiler.load.target import Target

# How vLLM, SGLang and ours are told not to end an answer early.
NO_END = {"ignore_eos": True}
PATHS = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}


@dataclass
class Reply:
    """What came of one request, in seconds of `time.perf_counter`; `counts[k]` tokens came in the event at `times[k]`.

    `prompt_tokens` and `output_tokens` are the server's own counts, None where it told none.
    """

    due_s: float
    sent_s: float = float("nan")
    times: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    end_s: float = float("nan")
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    fault: LoadFault | None = None
    dropped: bool = False

    @property
    def produced(self) -> int:
        """Output tokens: as the server counts them, else as many as its events hold."""
        return self.output_tokens if self.output_tokens is not None else sum(self.counts)


def body(target: Target, prompt: list[int] | str, output_tokens: int, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the document of a request that is to be answered by so many tokens, as a stream with usage counts.

    `extra` is added as it is: NO_END, where the server knows it, for answers of exactly so many.
    """
    if target.api == "chat":
        asked: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}], "max_completion_tokens": output_tokens}
    else:
        asked = {"prompt": prompt}
    # A chat gets both names of the limit, since servers know one or the other.
    limit = {"max_tokens": output_tokens, "temperature": 0}
    stream = {"stream": True, "stream_options": {"include_usage": True}}
    return {"model": target.model, **asked, **limit, **stream, **extra}


async def ask(session: aiohttp.ClientSession, target: Target, document: Mapping[str, Any], reply: Reply, silence_s: float) -> None:
    """Fills in the reply; a fault is written down there and not raised."""
    reply.sent_s = time.perf_counter()
    headers = {"Authorization": f"Bearer {target.api_key}"} if target.api_key else {}
    url = target.url.rstrip("/") + PATHS[target.api]
    try:
        async with session.post(url, json=document, headers=headers, timeout=_patience(silence_s)) as response:
            if response.status != 200:
                raise Refused(f"HTTP {response.status}: {_first(await response.text())}")
            await _read(response, target.api, reply)
    except LoadFault as fault:
        reply.fault = fault
    except TimeoutError:
        reply.fault = Silent(f"nothing for {silence_s:g} s")
    except (aiohttp.ClientError, OSError) as error:
        reply.fault = Lost(f"{type(error).__name__}: {error}")
    except UnicodeDecodeError:
        reply.fault = Malformed("an answer that is no text")
    except asyncio.CancelledError:
        reply.dropped = True
        raise
    finally:
        reply.end_s = time.perf_counter()


def _patience(silence_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=silence_s, sock_read=silence_s)


async def _read(response: aiohttp.ClientResponse, api: str, reply: Reply) -> None:
    """Reads a stream to its end, each piece stamped as it comes."""
    events, finished = Events(), False
    async for data in response.content.iter_any():
        now = time.perf_counter()
        for document in events.feed(data):
            if "error" in document:
                raise Refused(f"an error in the stream: {_first(str(document['error']))}")
            finished = _take(document, api, reply, now) or finished
    if not (events.done or finished):
        raise Lost("the stream broke off before its end")
    if not reply.times:
        raise Malformed("an answer without a token")


def _take(document: dict[str, Any], api: str, reply: Reply, now: float) -> bool:
    """Writes down the tokens and counts of one event; returns whether it ends the answer."""
    before = sum(reply.counts) if reply.output_tokens is None else reply.output_tokens
    usage, choices = document.get("usage"), document.get("choices")
    if isinstance(usage, dict):
        _take_usage(usage, reply)
    if not isinstance(choices, list):
        raise Malformed("an event without `choices`")
    if not choices:
        return False
    choice = choices[0]
    if not isinstance(choice, dict):
        raise Malformed("a choice that is no object")
    count = _tokens(choice, api)
    if count > 0 and isinstance(usage, dict) and reply.output_tokens is not None:
        # A server that counts as it goes tells exactly how many tokens an event holds.
        count = reply.output_tokens - before
    if count > 0:
        reply.times.append(now)
        reply.counts.append(count)
    return choice.get("finish_reason") is not None


def _take_usage(usage: dict[str, Any], reply: Reply) -> None:
    counts = {name: usage.get(name) for name in ("prompt_tokens", "completion_tokens")}
    if not all(isinstance(count, int) and count >= 0 for count in counts.values()):
        raise Malformed(f"usage counts that are no counts: {_first(str(usage))}")
    reply.prompt_tokens, reply.output_tokens = counts["prompt_tokens"], counts["completion_tokens"]
    details = usage.get("prompt_tokens_details")
    if isinstance(details, dict) and isinstance(details.get("cached_tokens"), int):
        reply.cached_tokens = details["cached_tokens"]


def _tokens(choice: dict[str, Any], api: str) -> int:
    """Returns how many tokens an event holds: its token ids where it tells them, else one if it has a text."""
    ids = choice.get("token_ids")
    if isinstance(ids, list):
        return len(ids)
    if api == "completions":
        # A token's text is empty where it is part of a character.
        text = choice.get("text")
        return int(bool(text) or (text == "" and choice.get("finish_reason") is None))
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        raise Malformed("a choice without `delta`")
    # A chat's first event tells the role alone.
    return int(bool(delta.get("content") or delta.get("reasoning_content")))


def _first(text: str) -> str:
    return " ".join(text.split())[:200]
