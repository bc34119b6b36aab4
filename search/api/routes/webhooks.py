"""Webhooks: add one, list them, test and remove one, and what became of its deliveries; for admins alone."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Path, Query
from pydantic import ConfigDict, Field
from starlette.responses import Response

from db import outbox
from db import webhooks as stored
from db.webhook_rows import EVENTS, DeliveryState
from search import hooks
from search.api.access import require
from search.api.bodies import As
from search.api.errors import documented
from search.api.models import Document
from search.api.state import LARGEST_PAGE, PAGE, READABLE, Opened, after_of, answer, cursor_of
from simulator.spec.base import Spec

router = APIRouter(tags=["webhooks"], dependencies=[Depends(require("admin"))])
ID = "w-7f3a9c21d0e4"
MADE = "2026-11-23T02:00:00+00:00"
LINE: dict[str, Any] = {"id": ID, "url": "https://example.com/hook", "on": ["study.done", "regression"], "created_at": MADE}
SECRET = {"secret": "whsec_" + "A" * 43 + "="}
SENT: dict[str, Any] = {
    "id": "d-0f1e2d3c4b5a69788796a5b4",
    "webhook": ID,
    "event": "study.done",
    "state": "waiting",
    "attempts": 2,
    "status": 503,
    "error": "it answered 503",
    "created_at": MADE,
    "next_attempt_at": "2026-11-23T02:00:42+00:00",
    "finished_at": None,
}
Hook = Annotated[str, Path(alias="webhook", max_length=32, pattern=READABLE, description="The whole id.", examples=[ID])]
READS = documented(401, 403, 404, 422, 429, 503)


class NewWebhook(Spec):
    """Where to POST, and of which events; of all where `on` is not given."""

    url: str = Field(max_length=stored.LONGEST_URL, description="http:// or https://, at an address that is public.")
    on: tuple[str, ...] = Field(default=(), max_length=50, strict=False, description=f"Of {', '.join(EVENTS)}.")


class Webhook(Document):
    """A webhook without its secret; times in UTC."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": LINE})

    id: str
    url: str
    on: list[str]
    created_at: str


class AddedWebhook(Webhook):
    """A webhook with the secret that signs for it, which is shown this once."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": {**LINE, **SECRET}})

    secret: str


class Webhooks(Document):
    """All webhooks, newest first."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": {"items": [LINE], "next_cursor": None}})

    items: list[Webhook]
    next_cursor: Literal[None]


class Delivery(Document):
    """One event for one webhook: how often it was tried, and what the last attempt came to; times in UTC."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": SENT})

    id: str
    webhook: str
    event: str
    state: DeliveryState
    attempts: int
    status: int | None
    error: str | None
    created_at: str
    next_attempt_at: str | None
    finished_at: str | None


class Deliveries(Document):
    """A page of deliveries, newest first; `next_cursor` leads to the next page, null on the last one."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": {"items": [SENT], "next_cursor": None}})

    items: list[Delivery]
    next_cursor: str | None


Asked = Annotated[dict[str, Any], As(NewWebhook), Body(examples=[{"url": LINE["url"], "on": LINE["on"]}])]


@router.post("/webhooks", status_code=201, response_model=AddedWebhook, responses=documented(400, 401, 403, 413, 422, 429, 503))
def add_webhook(body: Asked, service: Opened) -> Response:
    """Add a webhook; the answer has its secret, this once."""
    # Unlike other bodies it may hold a URL, which is judged whenever something is sent there.
    asked = NewWebhook.parse(body)
    row, secret = stored.add(service.store, asked.url, asked.on)
    return answer({**hooks.webhook(row), "secret": secret}, 201)


@router.get("/webhooks", response_model=Webhooks, responses=documented(401, 403, 429, 503))
def webhooks(service: Opened) -> Response:
    """All webhooks, newest first, without their secrets."""
    return answer({"items": [hooks.webhook(row) for row in stored.webhooks(service.store)], "next_cursor": None})


@router.delete("/webhooks/{webhook}", status_code=204, responses=READS, response_class=Response)
def remove_webhook(webhook: Hook, service: Opened) -> Response:
    """Remove a webhook, with what was still to be sent to it."""
    stored.remove(service.store, webhook)
    return Response(status_code=204)


@router.post("/webhooks/{webhook}/test", status_code=202, response_model=Delivery, responses=READS)
def test_webhook(webhook: Hook, service: Opened) -> Response:
    """Have a worker send a ping, once; its deliveries tell what came of it."""
    return answer(hooks.delivery(outbox.ping(service.store, webhook)), 202)


@router.get("/webhooks/{webhook}/deliveries", response_model=Deliveries, responses=READS)
def deliveries(
    webhook: Hook,
    service: Opened,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = PAGE,
    cursor: Annotated[str | None, Query(max_length=200, description="The next_cursor of the page before.")] = None,
) -> Response:
    """A page of what was sent to a webhook and what waits to be, newest first."""
    stored.webhook(service.store, webhook)
    found = stored.deliveries(service.store, limit + 1, after_of(cursor), webhook)
    last = found[limit - 1] if len(found) > limit else None
    more = None if last is None else cursor_of(last.created_at, last.id)
    return answer({"items": [hooks.delivery(row) for row in found[:limit]], "next_cursor": more})
