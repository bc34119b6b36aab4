"""Events: what happens to a study as it happens, as server-sent events that go on after the last one that was seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from db import events as stored
from db import queries
from db.rows import EventRow, StudyRow
from search.api.access import require
from search.api.errors import documented
from search.api.state import Opened, Service, StudyPath

router = APIRouter(tags=["studies"])
# How often the store is asked.
LOOK_S = 0.3
OVER = frozenset({"done", "infeasible", "cancelled", "failed"})
MOST = 2**31 - 1


def found(study: StudyPath, service: Opened) -> StudyRow:
    """Returns the study before the stream begins, while 404 can still be said."""
    return queries.study(service.store, study)


@router.get(
    "/studies/{study}/events",
    response_class=EventSourceResponse,
    responses=documented(401, 403, 404, 422, 429, 503),
    dependencies=[Depends(require("read"))],
)
async def events(
    request: Request,
    service: Opened,
    row: Annotated[StudyRow, Depends(found)],
    last_event_id: Annotated[int, Header(ge=0, le=MOST, description="The id of the last event that was seen.")] = 0,
    after: Annotated[int, Query(ge=0, le=MOST, description="The same, for clients that cannot set headers.")] = 0,
) -> AsyncIterator[ServerSentEvent]:
    """What happened and happens to a study; the stream ends with the study. Its ids resume it: send Last-Event-ID."""
    last = max(last_event_id, after)
    while True:
        # Looked at first, so that all that was written before the end is told.
        over = await asyncio.to_thread(_is_over, service, row.id)
        while fresh := await asyncio.to_thread(stored.since, service.store, row.id, last):
            for event in fresh:
                last = event.seq
                yield ServerSentEvent(event=event.kind, id=str(event.seq), data=data_of(event))
        if over or await request.is_disconnected():
            return
        await asyncio.sleep(LOOK_S)


def data_of(event: EventRow) -> dict[str, object]:
    """Returns what an event says, with its time."""
    return {**event.document, "at": event.created_at.isoformat()}


def _is_over(service: Service, study_id: str) -> bool:
    return queries.study(service.store, study_id).state in OVER
