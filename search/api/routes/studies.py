"""Studies: submit, list, read, cancel, resume, delete, and clone with changes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Query
from starlette.responses import Response

from db import pages, queries
from db.rows import StudyState
from search import documents, service, uploads
from search.api import models
from search.api.access import require
from search.api.bodies import RequestBody, parsed
from search.api.errors import Refused, documented
from search.api.state import (
    LARGEST_PAGE,
    PAGE,
    READABLE,
    Opened,
    Service,
    StudyId,
    StudyPath,
    after_of,
    answer,
    cursor_of,
)
from search.asking import Caller
from search.check import check
from search.request import SearchRequest
from simulator.errors import InputError

router = APIRouter(tags=["studies"])
READ, SUBMIT = [Depends(require("read"))], [Depends(require("submit"))]
RUNS = documented(401, 403, 404, 409, 422, 429, 503)
TAKEN_IN: dict[str, Any] = {
    "model": models.Submitted,
    "headers": {"Location": {"description": "Where the study is.", "schema": {"type": "string"}}},
}
ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"description": "Taken in.", **TAKEN_IN},
    200: {"description": "Taken in before, under this key.", **TAKEN_IN},
}
Submitting = Annotated[Caller, Depends(require("submit"))]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        min_length=1,
        pattern=r"^[!-~]+$",
        description="A second submit under it is the first.",
    ),
]
Priority = Annotated[int, Query(ge=-100, le=100, description="The higher runs first.")]
ModelName = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str | None, Query(max_length=200, pattern=READABLE)]
CHANGES = {"slo": {"ttft_p99_s": 1.0}, "budget": {"trials": 50}}
Changes = Annotated[
    dict[str, Any], Body(examples=[CHANGES], description="Fields that take the place of the study's; null takes one away.")
]


@router.post("/studies", status_code=202, response_model=models.Submitted, dependencies=SUBMIT,
             responses={**ACCEPTED, **documented(400, 401, 403, 409, 413, 422, 429, 503)})  # fmt: skip
def submit(body: RequestBody, opened: Opened, caller: Submitting, idempotency_key: Key = None, priority: Priority = 0) -> Response:
    """Take a study in, to be run by a worker; `GET /studies/{id}/events` follows it."""
    return _taken_in(opened, caller, body, idempotency_key, priority)


@router.get("/studies", response_model=models.Studies, dependencies=READ, responses=documented(401, 403, 422, 429, 503))
def studies(
    opened: Opened,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = PAGE,
    cursor: Annotated[str | None, Query(max_length=200, description="The next_cursor of the page before.")] = None,
    state: StudyState | None = None,
    name: Text = None,
    model: ModelName = None,
    since: Annotated[datetime | None, Query(description="Only studies created then or later; with a time zone.")] = None,
) -> Response:
    """A page of studies, newest first."""
    if since is not None and since.tzinfo is None:
        raise InputError("since", since.isoformat(), "a time with its zone, such as 2026-01-02T12:00:00Z")
    wanted = pages.Wanted(state, name, model, since)
    found = pages.studies(opened.store, limit + 1, after_of(cursor), wanted)
    last = found[limit - 1].study if len(found) > limit else None
    return answer(documents.studies(found[:limit], None if last is None else cursor_of(last.created_at, last.id)))


@router.get(
    "/studies/{study}", response_model=models.WholeStudy, dependencies=READ, responses=documented(401, 403, 404, 422, 429, 503)
)
def study(study: StudyPath, opened: Opened) -> Response:
    """A study with its request, its trials counted by state and the first point of its frontier."""
    row = queries.study(opened.store, study)
    return answer(documents.one_study(queries.lines(opened.store, [row])[0]))


@router.delete(
    "/studies/{study}", status_code=204, dependencies=[Depends(require("admin"))], responses=RUNS, response_class=Response
)
def delete(study: StudyId, opened: Opened) -> Response:
    """Delete a study with its trials; one that runs is to be cancelled first."""
    _there(opened, study)
    service.delete(opened.store, study)
    return Response(status_code=204)


@router.post("/studies/{study}/cancel", status_code=202, response_model=models.Submitted, dependencies=SUBMIT, responses=RUNS)
def cancel(study: StudyId, opened: Opened) -> Response:
    """Ask a study to stop, which takes a worker seconds; what it scored is kept."""
    _there(opened, study)
    row = service.cancel(opened.store, study)
    return answer({"id": row.id, "state": row.state}, 202)


@router.post("/studies/{study}/resume", status_code=202, response_model=models.Submitted, dependencies=SUBMIT, responses=RUNS)
def resume(study: StudyId, opened: Opened, caller: Submitting) -> Response:
    """Go on with a study that was cancelled or failed; what it scored is not scored again."""
    _there(opened, study)
    try:
        row = service.resume(opened.store, study, key_id=caller.key_id)
    except InputError as error:
        raise Refused(409, str(error)) from None
    return answer({"id": row.id, "state": row.state}, 202)


@router.post("/studies/{study}/clone", status_code=202, response_model=models.Submitted, dependencies=SUBMIT,
             responses={**ACCEPTED, **documented(400, 401, 403, 404, 409, 413, 422, 429, 503)})  # fmt: skip
def clone(
    study: StudyPath,
    opened: Opened,
    caller: Submitting,
    body: Annotated[
        dict[str, Any], Body(examples=[CHANGES], description="Fields that take the place of the study's; null takes one away.")
    ],
    idempotency_key: Key = None,
    priority: Priority = 0,
) -> Response:
    """Submit a study's request again with changes; what a change does not name stays."""
    row = queries.study(opened.store, study)
    return _taken_in(opened, caller, merged(row.request, body), idempotency_key, priority)


def merged(request: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Returns a request with changes as a JSON merge patch (RFC 7396): mappings are merged, null removes, all else replaces."""
    found = dict(request)
    for name, value in changes.items():
        if value is None:
            found.pop(name, None)
        elif isinstance(value, dict):
            before = found.get(name)
            found[name] = merged(before if isinstance(before, dict) else {}, value)
        else:
            found[name] = value
    return found


def _taken_in(opened: Service, caller: Caller, body: dict[str, Any], key: str | None, priority: int) -> Response:
    request = parsed(SearchRequest, body)
    uploads.fetch(opened.store, request.workload)
    check(request)
    try:
        done = service.submit(opened.store, request, key_id=caller.key_id, priority=priority, idempotency_key=key)
    except InputError as error:
        if error.field == "Idempotency-Key":
            raise Refused(409, str(error)) from None
        raise
    headers = {"Location": f"/api/v1/studies/{done.study.id}"}
    return answer({"id": done.study.id, "state": done.study.state}, 202 if done.new else 200, headers)


def _there(opened: Service, study_id: str) -> None:
    """Raises InputError under `study` unless there is a study of just this id: what changes one takes no beginnings and names."""
    if queries.study(opened.store, study_id).id != study_id:
        raise InputError("study", study_id, "the whole id of a study")
