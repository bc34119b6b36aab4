"""What goes into the store of webhooks and what comes out: plain frozen dataclasses, as in `db.rows`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

DeliveryState = Literal["waiting", "done", "failed"]
# What a webhook may be told of, and what each means.
EVENTS: Mapping[str, str] = {
    "study.done": "a study has its frontier",
    "study.infeasible": "a study ended, and nothing keeps its SLO",
    "study.cancelled": "a study was cancelled",
    "study.failed": "a study failed",
    "regression": "a sweep found that predictions changed",
    "drift": "a newer trace showed that a study's answer no longer stands",
}
EVERY = "*"
# What a test sends, whatever the webhook is told of.
PING = "ping"


@dataclass(frozen=True, kw_only=True)
class WebhookRow:
    """Where to send what, without the secret; `events` are apart by commas, `*` is every one that there is or will be."""

    id: str
    url: str
    events: str
    created_at: datetime

    @property
    def on(self) -> list[str]:
        """The events by name."""
        return list(EVENTS) if self.events == EVERY else self.events.split(",")


@dataclass(frozen=True, kw_only=True)
class DeliveryRow:
    """One event for one webhook: `attempts` were begun, the next is due at `not_before`; `status` and `error` are of the last."""

    id: str
    webhook_id: str
    event: str
    state: DeliveryState
    attempts: int
    max_attempts: int
    not_before: datetime
    lease_until: datetime | None
    created_at: datetime
    finished_at: datetime | None
    status: int | None
    error: str | None


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """A delivery in the hands of one sender, with what it takes to send it; `claims` tells this sender from the next."""

    id: str
    webhook_id: str
    claims: int
    attempts: int
    max_attempts: int
    body: str
    url: str
    secret: str
