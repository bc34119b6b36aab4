"""The tables of webhooks: where to send what, and the outbox of what is to be sent."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from db.tables import Base
from db.webhook_rows import DeliveryState


class Webhook(Base):
    """An address that is told of events; `secret` is kept as it is, since each delivery is signed with it."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    url: Mapped[str]
    secret: Mapped[str] = mapped_column(String(128))
    events: Mapped[str]
    created_at: Mapped[datetime]


class Delivery(Base):
    """One event for one webhook; `claims` counts how often it was handed out and tells one sender from the next."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'done', 'failed')", name="state"),
        Index(None, "state", "not_before"),
        Index(None, "webhook_id", "created_at", "id"),
        Index(None, "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    event: Mapped[str] = mapped_column(String(64))
    body: Mapped[str]
    state: Mapped[DeliveryState] = mapped_column(String(16))
    attempts: Mapped[int]
    max_attempts: Mapped[int]
    claims: Mapped[int]
    not_before: Mapped[datetime]
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    status: Mapped[int | None]
    error: Mapped[str | None]
