"""The outbox: what webhooks are to be told, written in the transaction of what happened, and handed out to whoever sends it.

A delivery waits until it is due, is held by one sender under a lease, and is done, due again later, or failed after its
attempts. A sender that dies leaves a lease that ends, and the delivery is handed out once more under the same id.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session

from db.jsontext import check_storable, dumps
from db.lease import clock
from db.rows import row_of
from db.session import Store
from db.webhook_rows import EVERY, PING, DeliveryRow, Parcel
from db.webhook_tables import Delivery, Webhook

# Three times as long after each attempt, up to six hours: eleven attempts in 21 hours.
MAX_ATTEMPTS = 11
FIRST_DELAY_S, LONGEST_DELAY_S, GROWTH = 10.0, 6 * 3600.0, 3.0
LONGEST_ERROR = 300
# Of one webhook at a time, so that one whose receiver hangs leaves room for the others.
MOST_EACH = 4


def enqueue(session: Session, event: str, data: dict[str, Any]) -> int:
    """Returns how many webhooks will be told of an event, in the session's transaction: sent only if that is kept.

    Whoever adds an event adds its name to `db.webhook_rows.EVENTS`.
    """
    # Held, so that none is removed before its delivery is stored, which would undo what happened.
    rows = session.scalars(select(Webhook).with_for_update(read=True, key_share=True)).all()
    wanted = [row for row in rows if row.events == EVERY or event in row.events.split(",")]
    for row in wanted:
        session.add(_delivery(session, row.id, event, data, MAX_ATTEMPTS))
    return len(wanted)


def ping(store: Store, webhook_id: str) -> DeliveryRow:
    """Returns a delivery that tests a webhook, attempted once; raises InputError under `webhook` when there is none."""
    from db.webhooks import webhook

    found = webhook(store, webhook_id)
    with store.write() as session:
        row = _delivery(session, found.id, PING, {"webhook": found.id}, 1)
        session.add(row)
        session.flush()
        return row_of(DeliveryRow, row)


def _delivery(session: Session, webhook_id: str, event: str, data: dict[str, Any], max_attempts: int) -> Delivery:
    check_storable(data, "event")
    now = clock(session)
    body = {"type": event, "timestamp": now.astimezone(UTC).isoformat(timespec="milliseconds"), "data": data}
    return Delivery(
        id=f"d-{secrets.token_hex(12)}",
        webhook_id=webhook_id,
        event=event,
        body=dumps(body),
        state="waiting",
        attempts=0,
        max_attempts=max_attempts,
        claims=0,
        not_before=now,
        created_at=now,
    )


def claim(store: Store, limit: int, lease_s: float, only: str | None = None) -> list[Parcel]:
    """Returns at most `limit` deliveries that are due, few of each webhook, held for `lease_s` seconds.

    `only` names the one that is wanted. One whose last attempt was begun and never ended is failed.
    """
    with store.read() as session:
        # A look that waits for no writer: most of the time there is nothing.
        if session.scalar(_due(clock(session), only, 1)) is None:
            return []
    with store.write() as session:
        now, taken = clock(session), []
        for row in session.scalars(_due(now, only, limit).with_for_update(skip_locked=True)):
            if row.attempts >= row.max_attempts:
                _end(row, "failed", now, row.status, "whoever sent it stopped without a word")
                continue
            row.claims += 1
            row.attempts += 1
            row.lease_until = now + timedelta(seconds=lease_s)
            taken.append(row)
        session.flush()
        return [_parcel(row, session.get_one(Webhook, row.webhook_id)) for row in taken]


def _due(now: datetime, only: str | None, limit: int) -> Select[Delivery]:
    free: ColumnElement[bool] = or_(Delivery.lease_until.is_(None), Delivery.lease_until < now)
    due = [Delivery.state == "waiting", Delivery.not_before <= now, free]
    if only is not None:
        due.append(Delivery.id == only)
    place = func.row_number().over(partition_by=Delivery.webhook_id, order_by=(Delivery.not_before, Delivery.id))
    ranked = select(Delivery.id, place.label("place")).where(*due).subquery()
    first = select(ranked.c.id).where(ranked.c.place <= MOST_EACH)
    # Said twice: PostgreSQL looks again at what another sender had locked, and not into the inner query.
    return select(Delivery).where(*due, Delivery.id.in_(first)).order_by(Delivery.not_before, Delivery.id).limit(limit)


def _parcel(row: Delivery, webhook: Webhook) -> Parcel:
    return Parcel(
        id=row.id,
        webhook_id=row.webhook_id,
        claims=row.claims,
        attempts=row.attempts,
        max_attempts=row.max_attempts,
        body=row.body,
        url=webhook.url,
        secret=webhook.secret,
    )


def delivered(store: Store, parcel: Parcel, status: int) -> bool:
    """Returns whether the delivery is done by this sender; false where another one has it by now, or it is gone."""
    with store.write() as session:
        row = _mine(session, parcel)
        if row is not None:
            _end(row, "done", clock(session), status, None)
        return row is not None


def refused(store: Store, parcel: Parcel, status: int | None, error: str, stretch: float = 1.0, *, again: bool = True) -> bool:
    """Returns whether the delivery will be tried again: after `delay_s` times `stretch`, unless it had its attempts."""
    with store.write() as session:
        row = _mine(session, parcel)
        if row is None:
            return False
        now = clock(session)
        if not again or row.attempts >= row.max_attempts:
            _end(row, "failed", now, status, error)
            return False
        row.status, row.error, row.lease_until = status, error[:LONGEST_ERROR], None
        row.not_before = now + timedelta(seconds=stretch * delay_s(row.attempts))
        return True


def delay_s(attempts: int) -> float:
    """Returns the seconds between an attempt and the next, where so many were made."""
    return min(FIRST_DELAY_S * GROWTH ** (attempts - 1), LONGEST_DELAY_S)


def _mine(session: Session, parcel: Parcel) -> Delivery | None:
    held = (Delivery.id == parcel.id, Delivery.claims == parcel.claims, Delivery.state == "waiting")
    return session.scalar(select(Delivery).where(*held).with_for_update())


def _end(row: Delivery, state: str, now: datetime, status: int | None, error: str | None) -> None:
    row.state, row.finished_at, row.lease_until, row.status = state, now, None, status  # type: ignore[assignment]
    row.error = None if error is None else error[:LONGEST_ERROR]
