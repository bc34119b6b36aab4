"""Webhooks: who is told of what, and what became of each delivery."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import SplitResult, urlsplit

from sqlalchemy import func, select, tuple_

from db.rows import row_of
from db.session import Store
from db.webhook_rows import EVENTS, EVERY, DeliveryRow, DeliveryState, WebhookRow
from db.webhook_tables import Delivery, Webhook
from simulator.errors import InputError, unknown_name

PREFIX = "whsec_"
SECRET_BYTES = 32
LONGEST_URL = 2000
URL = "http:// or https://, a host, a port up to 65535 or none, and neither user nor fragment"


def add(store: Store, url: str, events: Sequence[str] = ()) -> tuple[WebhookRow, str]:
    """Returns a new webhook and its secret, which no list shows; without `events` it is told of every one.

    Raises InputError for a wrong URL under `url`, and under `on` for an event that there is not.
    """
    _split(url)
    for event in events:
        if event not in EVENTS:
            raise unknown_name("on", event, EVENTS)
    secret = PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    with store.write() as session:
        row = Webhook(
            id=f"w-{secrets.token_hex(6)}",
            url=url,
            secret=secret,
            events=",".join(name for name in EVENTS if name in events) or EVERY,
            created_at=datetime.now(UTC),
        )
        session.add(row)
        session.flush()
        return row_of(WebhookRow, row), secret


def _split(url: str) -> SplitResult:
    """Returns the parts of a URL that something can be sent to; raises InputError for another one."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InputError("url", url, URL) from None
    plain = url.isascii() and url.isprintable() and " " not in url and len(url) <= LONGEST_URL
    known = parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0
    if not plain or not known or "@" in parts.netloc or "#" in url or "\\" in url:
        raise InputError("url", url, URL)
    return parts


def webhooks(store: Store) -> list[WebhookRow]:
    """Returns all webhooks without their secrets, the newest first."""
    with store.read() as session:
        return [row_of(WebhookRow, row) for row in session.scalars(select(Webhook).order_by(Webhook.created_at.desc(), Webhook.id))]


def webhook(store: Store, webhook_id: str) -> WebhookRow:
    """Returns the webhook with this id; raises InputError under `webhook` when there is none."""
    with store.read() as session:
        found = session.get(Webhook, webhook_id)
        if found is None:
            raise InputError("webhook", webhook_id, "the id of a webhook")
        return row_of(WebhookRow, found)


def remove(store: Store, webhook_id: str) -> WebhookRow:
    """Returns the webhook as it was, now removed with what was still to be sent to it; raises InputError as `webhook` does."""
    with store.write() as session:
        found = session.get(Webhook, webhook_id, with_for_update=True)
        if found is None:
            raise InputError("webhook", webhook_id, "the id of a webhook")
        row = row_of(WebhookRow, found)
        session.delete(found)
        return row


def delivery(store: Store, delivery_id: str) -> DeliveryRow | None:
    """Returns a delivery, None where there is none of this id."""
    with store.read() as session:
        found = session.get(Delivery, delivery_id)
        return None if found is None else row_of(DeliveryRow, found)


def deliveries(
    store: Store, limit: int = 50, after: tuple[datetime, str] | None = None, webhook_id: str | None = None
) -> list[DeliveryRow]:
    """Returns at most `limit` deliveries, newest first, those made before the moment and id `after`, of one webhook if given."""
    query = select(Delivery).order_by(Delivery.created_at.desc(), Delivery.id.desc()).limit(limit)
    if webhook_id is not None:
        query = query.where(Delivery.webhook_id == webhook_id)
    if after is not None:
        query = query.where(tuple_(Delivery.created_at, Delivery.id) < tuple_(*after))
    with store.read() as session:
        return [row_of(DeliveryRow, row) for row in session.scalars(query)]


def counts(store: Store) -> dict[DeliveryState, int]:
    """Returns how many deliveries there are in each state."""
    with store.read() as session:
        found = session.execute(select(Delivery.state, func.count().label("deliveries")).group_by(Delivery.state))
        return {row.state: row.deliveries for row in found}
