"""Traces: send one, list them, look at one, delete one that no study needs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from db import traces as stored
from search import uploads
from search.api.access import require
from search.api.errors import Refused, documented
from search.api.state import LARGEST_PAGE, PAGE, Opened, Service, answer
from search.bounded import Full, TooLong
from simulator.errors import InputError

router = APIRouter(tags=["traces"])
READ, SUBMIT, ADMIN = [Depends(require("read"))], [Depends(require("submit"))], [Depends(require("admin"))]
HASH = r"^sha256:[0-9a-f]{64}$"
EXAMPLE = "sha256:" + "0" * 64
Name = Annotated[str, Path(alias="trace", pattern=HASH, description="As a workload names it.", examples=[EXAMPLE])]
FILE = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


class TraceFile(BaseModel):
    """An uploaded trace and what is in it; times in seconds, lengths in tokens."""

    trace: str
    name: str
    size_bytes: int
    created_at: datetime
    format: str
    rows: int
    requests: int
    dropped: dict[str, int]
    duration_s: float | None
    rate_rps: float | None
    mean_prompt_tokens: float
    mean_output_tokens: float
    classes: list[str]
    notes: list[str]


class TraceFiles(BaseModel):
    """A page of traces."""

    items: list[TraceFile]
    next_cursor: str | None


TAKEN: dict[int | str, dict[str, Any]] = {
    201: {"description": "Stored.", "model": TraceFile},
    200: {"description": "Stored before.", "model": TraceFile},
}


@router.post("/traces", status_code=201, response_model=TraceFile, dependencies=SUBMIT, max_body_size=uploads.MOST_BYTES,
             openapi_extra={"requestBody": {"required": True, "content": FILE}},
             responses={**TAKEN, **documented(400, 401, 403, 413, 422, 429, 503)})  # fmt: skip
async def upload_trace(
    request: Request,
    service: Opened,
    name: Annotated[str | None, Header(alias="X-File-Name", max_length=300, description="What to call it; only shown.")] = None,
) -> Response:
    """Store a trace file, plain or gzip, in any format that `trimtab simulate` reads; a wrong row is told by its line."""
    data = await request.body()
    return await run_in_threadpool(_stored, service, data, name or "")


def _stored(service: Service, data: bytes, name: str) -> Response:
    try:
        row, is_new = uploads.add(service.store, data, name, lambda *given: service.bounded.call(uploads.inspect, *given))
    except Full:
        raise Refused(503, "as much is being read as is read at once; Retry-After says when to try again") from None
    except TooLong:
        raise InputError("trace", f"{len(data):,} bytes", "a file that is read within the limits of time and memory") from None
    return answer(uploads.document(row), 201 if is_new else 200)


@router.get("/traces", response_model=TraceFiles, dependencies=READ, responses=documented(401, 403, 422, 429, 503))
def traces(
    service: Opened,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = PAGE,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9a-f]{64}$", description="The next_cursor of the page before.")] = None,
) -> Response:
    """A page of traces, newest first."""
    found = stored.listed(service.store, limit + 1, cursor)
    last = found[limit - 1].sha256 if len(found) > limit else None
    return answer({"items": [uploads.document(row) for row in found[:limit]], "next_cursor": last})


@router.get("/traces/{trace}", response_model=TraceFile, dependencies=READ, responses=documented(401, 403, 404, 422, 429, 503))
def trace_file(trace: Name, service: Opened) -> Response:
    """What is in a trace."""
    row = stored.find(service.store, trace.removeprefix("sha256:"))
    if row is None:
        raise Refused(404, f"there is no trace {trace}")
    return answer(uploads.document(row))


@router.delete(
    "/traces/{trace}",
    status_code=204,
    dependencies=ADMIN,
    responses=documented(401, 403, 404, 422, 429, 503),
    response_class=Response,
)
def delete_trace(trace: Name, service: Opened) -> Response:
    """Delete a trace; one that a study needs stays."""
    sha256 = trace.removeprefix("sha256:")
    if stored.find(service.store, sha256) is None:
        raise Refused(404, f"there is no trace {trace}")
    stored.remove(service.store, sha256)
    return Response(status_code=204)
