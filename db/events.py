"""What happened to studies, numbered within each, so that who follows one can go on after the last event that it saw."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from db.jsontext import check_storable
from db.rows import EventRow, row_of
from db.session import Store
from db.tables import Event, Idempotency, Study
from db.turns import lock

_OVER = ("done", "infeasible", "cancelled", "failed")


def append(store: Store, study_id: str, kind: str, document: dict[str, Any]) -> int:
    """Returns the number of the event, now stored: `progress` or `note`; raises StoreError when the study is gone."""
    check_storable(document, "event")
    with store.write() as session:
        lock(session, study_id)
        return add(session, study_id, kind, document)


def add(session: Session, study_id: str, kind: str, document: dict[str, Any]) -> int:
    """Returns the number of the event, added in a transaction that holds the study's row."""
    last = session.scalar(select(func.max(Event.seq)).where(Event.study_id == study_id))
    seq = (last or 0) + 1
    session.add(Event(study_id=study_id, seq=seq, kind=kind, document=document, created_at=datetime.now(UTC)))
    session.flush()
    return seq


def since(store: Store, study_id: str, seq: int = 0, limit: int = 500) -> list[EventRow]:
    """Returns at most `limit` events of a study after number `seq`, in order."""
    query = select(Event).where(Event.study_id == study_id, Event.seq > seq).order_by(Event.seq).limit(limit)
    with store.read() as session:
        return [row_of(EventRow, event) for event in session.scalars(query)]


def latest(store: Store, study_id: str, kind: str) -> EventRow | None:
    """Returns the last event of a kind, or None where there is none."""
    query = select(Event).where(Event.study_id == study_id, Event.kind == kind).order_by(Event.seq.desc()).limit(1)
    with store.read() as session:
        found = session.scalar(query)
        return None if found is None else row_of(EventRow, found)


def prune(store: Store, before: datetime) -> int:
    """Returns how many events of finished studies older than `before` were removed; each study keeps its last one.

    Submits that were answered before then are forgotten too: their keys may be used again.
    """
    over = select(Study.id).where(Study.state.in_(_OVER))
    later = Event.__table__.alias("later")
    last = select(func.max(later.c.seq)).where(later.c.study_id == Event.study_id).scalar_subquery()
    with store.write() as session:
        session.execute(delete(Idempotency).where(Idempotency.created_at < before))
        gone = delete(Event).where(Event.created_at < before, Event.study_id.in_(over), Event.seq < last)
        removed: int = session.execute(gone, execution_options={"synchronize_session": False}).rowcount  # type: ignore[attr-defined]
        return removed
