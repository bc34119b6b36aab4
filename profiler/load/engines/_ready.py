"""Whether a server is ready: its health address, then one streamed token, as the load that follows will ask for it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any

from profiler.load.engines.faults import EngineFault, Malformed, NeverReady, Refused, ServerError
from profiler.load.target import Target

LOOK_S = 0.1
_HEALTH_S, _TOKEN_S = 5.0, 120.0
_FAILURES, _PAUSE_S = 3, 0.5
_NOT_YET = (429, 502, 503, 504)
# Any vocabulary has these ids.
_PROMPT = [1, 2, 3]


def wait_ready(target: Target, until: float, fault: Callable[[], EngineFault | None], *, health: bool = True) -> None:
    """Returns once the server has answered; raises EngineFault when it ends, answers wrongly, or `until` passes (monotonic)."""
    asked, failures, said = not health, 0, "no answer"
    while time.monotonic() < until:
        ended = fault()
        if ended is not None:
            raise ended
        try:
            if not asked:
                said = "its health address did not answer"
                asked = _get_health(target, until)
            if asked:
                said = "no answer to a request of one token"
                _ask_token(target, until)
                return
        except urllib.error.HTTPError as error:
            said = f"{error.code} {_body(error)}"
            if asked and error.code not in _NOT_YET:
                failures += 1
                _give_up(error.code, said, failures)
                time.sleep(_PAUSE_S)
        except HTTPException as error:
            said = f"{said} ({type(error).__name__}: {error})"
            if asked:
                raise Malformed(f"{target.url} does not speak HTTP: {said}") from None
        except OSError as error:
            said = f"{said} ({type(error).__name__}: {error})"
        time.sleep(LOOK_S)
    raise NeverReady(f"{target.url} was not ready in time: {said}")


def _give_up(code: int, said: str, failures: int) -> None:
    if code < 500:
        raise Refused(f"the request of one token was refused: {said}")
    if failures >= _FAILURES:
        raise ServerError(f"the request of one token failed {failures} times: {said}")


def _get_health(target: Target, until: float) -> bool:
    with _open(target, urllib.request.Request(f"{target.url}/health"), min(_HEALTH_S, _left(until))) as answer:
        return bool(answer.status == 200)


def _ask_token(target: Target, until: float) -> None:
    """Returns when one token has been streamed; raises Malformed for what is not a stream of OpenAI's API."""
    chat = target.api == "chat"
    prompt: object = _PROMPT if target.prompt == "token_ids" else "Hello"
    asked = {"messages": [{"role": "user", "content": "Hello"}]} if chat else {"prompt": prompt}
    body = {"model": target.model, "max_tokens": 1, "stream": True, "temperature": 0.0, **asked}
    address = f"{target.url}/v1/{'chat/completions' if chat else 'completions'}"
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with _open(target, request, min(_TOKEN_S, _left(until))) as answer:
        if not any(_choices(line) for line in answer):
            raise Malformed(f"{address} streamed no token and no end")


def _choices(line: bytes) -> bool:
    """Returns whether a line of the stream has a choice in it."""
    text = line.decode("utf-8", "replace").strip()
    if not text or text.startswith(":") or text == "data: [DONE]" or text.partition(":")[0] in ("event", "id", "retry"):
        return False
    try:
        event = json.loads(text.removeprefix("data:"))
        if not text.startswith("data:") or not isinstance(event, dict):
            raise ValueError
    except ValueError:
        raise Malformed(f"the stream is not one of server-sent events with JSON: {text[:120]!r}") from None
    if "error" in event:
        raise ServerError(f"the stream of one token ended in an error: {json.dumps(event['error'])[:200]}")
    return bool(event.get("choices"))


def _open(target: Target, request: urllib.request.Request, timeout_s: float) -> Any:
    if target.api_key is not None:
        request.add_header("Authorization", f"Bearer {target.api_key}")
    # A server on this machine is never behind the proxy that the environment names.
    own = request.host.partition(":")[0] in ("127.0.0.1", "localhost", "[")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({})) if own else urllib.request.build_opener()
    return opener.open(request, timeout=timeout_s)


def _body(error: urllib.error.HTTPError) -> str:
    with error:
        return " ".join(error.read(300).decode("utf-8", "replace").split()) or error.reason


def _left(until: float) -> float:
    return max(0.05, until - time.monotonic())
