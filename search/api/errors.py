"""Errors as problem details (RFC 9457), one shape for all of them, and how each is documented in OpenAPI."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from simulator.errors import MISSING, Infeasible, InputError, OverQuota, StoreError
from simulator.spec.base import complaint

MEDIA_TYPE = "application/problem+json"
MOST_SHOWN = 200
RETRY_S = 5
# What `detail` says where the error itself says no more than its status.
WORDS = {
    400: "the body is no JSON text in UTF-8",
    401: "a key is missing or not valid",
    403: "the key has not the scope that this needs",
    404: "there is nothing at this address",
    405: "the address does not take this method",
    409: "the request does not fit the state that the resource is in",
    413: "the body is larger than is allowed",
    415: "the body is of another media type than the one that is taken",
    422: "the request is wrong: `errors` names the fields",
    429: "too many requests; Retry-After says when to try again",
    500: "the service failed; the log says why",
    503: "the service cannot answer now; Retry-After says when to try again",
}


class FieldError(BaseModel):
    """One wrong field: its path, the value as it was sent (shortened), and what is allowed instead."""

    field: str
    value: Any = None
    allowed: str


class Problem(BaseModel):
    """What went wrong, as problem details of RFC 9457."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:trimtab:problem:422",
                "title": "Unprocessable Content",
                "status": 422,
                "detail": "model: 'no/such' is not allowed; allowed: meta-llama/Llama-3.1-8B",
                "instance": "/api/v1/studies",
                "errors": [{"field": "model", "value": "no/such", "allowed": "meta-llama/Llama-3.1-8B"}],
            }
        }
    )

    type: str = Field(description='`urn:trimtab:problem:` and the status, or `infeasible` where the answer is "no".')
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="What is wrong with this very request, in one line.")
    instance: str = Field(description="The address that was asked.")
    errors: list[FieldError] | None = Field(default=None, description="With 404 and 422: every wrong field.")


class Refused(Exception):
    """An answer with an error status: `status`, one line for people, and headers."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})


class Invalid(Exception):
    """A request with one wrong field or several."""

    def __init__(self, errors: Sequence[InputError]) -> None:
        super().__init__(str(errors[0]))
        self.errors = list(errors)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the documentation of error statuses for `responses=` of a route."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        schema = {"$ref": "#/components/schemas/Problem"}
        found[status] = {"description": WORDS[status], "model": Problem, "content": {MEDIA_TYPE: {"schema": schema}}}
        if status in (429, 503):
            seconds = {"description": "Seconds to wait.", "schema": {"type": "integer"}}
            found[status]["headers"] = {"Retry-After": seconds}
    return found


def problem(
    request: Request,
    status: int,
    detail: str = "",
    errors: Sequence[InputError] = (),
    headers: Mapping[str, str] | None = None,
    kind: str | None = None,
) -> Response:
    """Returns the response for an error; `kind` is what its type ends in, by default the status."""
    content: dict[str, Any] = {
        "type": f"urn:trimtab:problem:{kind or status}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": " ".join((detail or WORDS.get(status, "")).split())[:1000],
        "instance": request.url.path,
    }
    if errors:
        content["errors"] = [{"field": e.field, "value": _shown(e.value), "allowed": e.allowed} for e in errors]
    sent = dict(headers or {})
    if status in (429, 503):
        sent.setdefault("Retry-After", str(RETRY_S))
    # Text that was sent broken comes back readable and never breaks the answer.
    body = json.dumps(content, allow_nan=False).encode()
    return Response(body, status, headers=sent, media_type=MEDIA_TYPE)


class Told:
    """Middleware that makes problem details of an error that a library answered in words of its own, such as 413."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        instead: Response | None = None

        async def sending(message: Message) -> None:
            nonlocal instead
            if message["type"] == "http.response.start" and message["status"] >= 400 and _is_plain(message):
                instead = problem(Request(scope), message["status"])
                await instead(scope, receive, send)
            elif instead is None:
                await send(message)

        await self.app(scope, receive, sending)


def _is_plain(message: Message) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/plain") for name, value in message.get("headers", ()))


def register(app: FastAPI) -> None:
    """Has the application answer every error with problem details."""
    app.add_exception_handler(InputError, _wrong_input)
    app.add_exception_handler(Infeasible, _infeasible)
    app.add_exception_handler(OverQuota, _over_quota)
    app.add_exception_handler(StoreError, _store_failed)
    app.add_exception_handler(Invalid, _invalid)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(StarletteHTTPException, _http)
    app.add_exception_handler(Exception, failed)


async def _wrong_input(request: Request, error: Exception) -> Response:
    assert isinstance(error, InputError)
    # A study, a trial or a webhook that is not there is not found; every other field is a wrong one.
    status = 404 if error.field in NOT_FOUND else 422
    return problem(request, status, str(error), [error])


NOT_FOUND = frozenset({"study", "trial", "webhook", "KIND", "NAME"})


async def _infeasible(request: Request, error: Exception) -> Response:
    return problem(request, 422, str(error), kind="infeasible")


async def _over_quota(request: Request, error: Exception) -> Response:
    return problem(request, 429, str(error))


async def _store_failed(request: Request, error: Exception) -> Response:
    logging.getLogger("trimtab.api").warning("store", extra={"detail": str(error)})
    return problem(request, 503, "the store cannot be read or written now; what was stored before is kept")


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, Invalid)
    return problem(request, 422, str(error), error.errors)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return problem(request, error.status, error.detail, headers=error.headers)


async def _unreadable(request: Request, error: Exception) -> Response:
    """Returns the complaints about a query, a header, a path or a body that is no JSON."""
    assert isinstance(error, RequestValidationError)
    told = [_complaint(detail) for detail in error.errors()]
    return problem(request, 422, str(told[0]), told)


def _complaint(detail: Mapping[str, Any]) -> InputError:
    place, *names = detail["loc"]
    if detail["type"] == "json_invalid":
        return InputError("body", f"position {names[0] if names else 0}", f"JSON ({detail['ctx']['error']})")
    if place == "body" and not names:
        value = MISSING if detail["type"] == "missing" else detail["input"]
        return InputError("body", value, "a JSON object, with content-type: application/json")
    return complaint({**detail, "loc": tuple(names) or (place,)})


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    detail = error.detail if isinstance(error, HTTPException) and error.status_code not in WORDS else ""
    headers = dict(error.headers or {})
    return problem(request, error.status_code, detail, headers=headers)


async def failed(request: Request, error: Exception) -> Response:
    """Returns 500 and nothing of what failed, which the log has."""
    logging.getLogger("trimtab.api").error("failed", exc_info=error, extra={"path": request.url.path})
    return problem(request, 500)


def _shown(value: object) -> Any:
    """Returns a value as JSON that is short and safe to send back."""
    if value is MISSING or value is None or isinstance(value, bool):
        return None if value is MISSING else value
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    text = value if isinstance(value, str) else repr(value)
    clean = text.encode("utf-8", "replace").decode()
    return clean if len(clean) <= MOST_SHOWN else clean[: MOST_SHOWN - 3] + "..."
