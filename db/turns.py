"""Turns: who writes to a study holds its row until the transaction ends."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.tables import Study
from simulator.errors import StoreError


def lock(session: Session, study_id: str) -> None:
    """Holds off other writers of the study until the transaction ends; raises StoreError when it is gone."""
    if session.scalar(select(Study.id).where(Study.id == study_id).with_for_update()) is None:
        raise StoreError(f"study {study_id} is not in the store")


def locked(session: Session, study_id: str) -> Study:
    """Returns the study, held as by `lock`."""
    lock(session, study_id)
    return session.get_one(Study, study_id)
