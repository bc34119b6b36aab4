"""Webhooks and their deliveries as documents: what the command line prints and REST answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from db.webhook_rows import DeliveryRow, WebhookRow


def webhook(row: WebhookRow) -> dict[str, Any]:
    """Returns the document of a webhook, which lacks its secret."""
    return {"id": row.id, "url": row.url, "on": row.on, "created_at": _time(row.created_at)}


def delivery(row: DeliveryRow) -> dict[str, Any]:
    """Returns the document of a delivery; `next_attempt_at` is null once it is over."""
    return {
        "id": row.id,
        "webhook": row.webhook_id,
        "event": row.event,
        "state": row.state,
        "attempts": row.attempts,
        "status": row.status,
        "error": row.error,
        "created_at": _time(row.created_at),
        "next_attempt_at": _time(row.not_before) if row.state == "waiting" else None,
        "finished_at": None if row.finished_at is None else _time(row.finished_at),
    }


def _time(value: datetime) -> str:
    return value.isoformat(timespec="seconds")
