"""Long lists a page at a time: newest studies first, trials by number, each page after the place where the last one ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, func, select, tuple_

from db.queries import lines
from db.rows import StudyLine, StudyRow, StudyState, TrialRow, TrialState, row_of
from db.session import Store
from db.tables import Study, Trial


@dataclass(frozen=True)
class Wanted:
    """Which studies a list holds: all that are not None must fit; `since` is the earliest moment of creation.

    `words` is a part of the name, whatever its case.
    """

    state: StudyState | None = None
    name: str | None = None
    model: str | None = None
    since: datetime | None = None
    words: str | None = None


def studies(store: Store, limit: int, after: tuple[datetime, str] | None = None, wanted: Wanted | None = None) -> list[StudyLine]:
    """Returns at most `limit` studies, newest first, those created before the moment and id `after`."""
    query = newest(wanted or Wanted()).limit(limit)
    if after is not None:
        query = query.where(tuple_(Study.created_at, Study.id) < tuple_(*after))
    with store.read() as session:
        rows = [row_of(StudyRow, study) for study in session.scalars(query)]
    return lines(store, rows)


def newest(wanted: Wanted) -> Select[Study]:
    """Returns the query for the studies that fit, newest first."""
    query = select(Study).order_by(Study.created_at.desc(), Study.id.desc())
    if wanted.state is not None:
        query = query.where(Study.state == wanted.state)
    if wanted.name is not None:
        query = query.where(Study.name == wanted.name)
    if wanted.words is not None:
        query = query.where(Study.name.icontains(wanted.words, autoescape=True))
    if wanted.model is not None:
        query = query.where(Study.request["model"].as_string() == wanted.model)
    if wanted.since is not None:
        query = query.where(Study.created_at >= wanted.since)
    return query


def trials(store: Store, study_id: str, limit: int, after: int | None = None, state: TrialState | None = None) -> list[TrialRow]:
    """Returns at most `limit` trials of a study by number, those after the number `after`, in `state` if given."""
    query = select(Trial).where(Trial.study_id == study_id).order_by(Trial.number).limit(limit)
    if after is not None:
        query = query.where(Trial.number > after)
    if state is not None:
        query = query.where(Trial.state == state)
    with store.read() as session:
        return [row_of(TrialRow, row) for row in session.scalars(query)]


def counted_by_state(store: Store) -> dict[StudyState, int]:
    """Returns how many studies are in each state that any is in."""
    with store.read() as session:
        return dict(session.execute(select(Study.state, func.count()).group_by(Study.state)).all())
