"""Reads: each on one snapshot, each returning plain rows that outlive the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Label, RowMapping, Select, func, select, tuple_
from sqlalchemy.orm import Session

from db.rows import PointRow, StudyLine, StudyRow, StudyState, TrialPoint, TrialRow, TrialState, row_of
from db.session import Store
from db.tables import Point, Study, Trial
from simulator.errors import InputError

Row = TypeVar("Row")
RECENT = 5
# What a list does not show of a point or a trial, and what nearly all of its bytes are.
_LONG = frozenset({"metrics", "curve", "memory", "provenance"})
# A point without a rank comes after all that have one; databases disagree on where they sort it by themselves.
_BY_RANK = (Point.rank.is_(None), Point.rank, Point.id)


def studies(store: Store, limit: int = 50, after: str | None = None, state: StudyState | None = None) -> list[StudyLine]:
    """Returns at most `limit` studies, newest first, those older than the study `after`, in `state` if given."""
    query = _newest_first().limit(limit)
    if state is not None:
        query = query.where(Study.state == state)
    with store.read() as session:
        if after is not None:
            last = _found(session, after)
            query = query.where(tuple_(Study.created_at, Study.id) < tuple_(last.created_at, last.id))
        return _lines(session, [row_of(StudyRow, study) for study in session.scalars(query)])


def lines(store: Store, rows: list[StudyRow]) -> list[StudyLine]:
    """Returns the studies as a list shows them, in their order; of a best point's metrics, curve and provenance nothing is read."""
    with store.read() as session:
        return _lines(session, rows)


def trial_counts(store: Store, study_id: str) -> dict[TrialState, int]:
    """Returns how many trials of a study are in each state that any is in."""
    with store.read() as session:
        return _trial_counts(session, [study_id]).get(study_id, {})


def study(store: Store, text: str) -> StudyRow:
    """Returns the study with this id, else the latest of this name, else the only one whose id begins so.

    Raises InputError under `study`, listing recent studies, when there is none or the beginning fits several.
    """
    with store.read() as session:
        return row_of(StudyRow, _found(session, text))


def find_resumable(store: Store, digest: str, seed: int) -> StudyRow | None:
    """Returns the latest study of this request and seed that was begun and not completed, or None."""
    unfinished = Study.state.in_(["running", "cancelled", "failed"])
    with store.read() as session:
        found = session.scalar(_newest_first().where(Study.digest == digest, Study.seed == seed, unfinished).limit(1))
        return None if found is None else row_of(StudyRow, found)


def trials(store: Store, study_id: str) -> list[TrialRow]:
    """Returns the trials of a study by number."""
    with store.read() as session:
        rows = session.scalars(select(Trial).where(Trial.study_id == study_id).order_by(Trial.number))
        return [row_of(TrialRow, row) for row in rows]


def trial(store: Store, study_id: str, number: int) -> TrialRow:
    """Returns the trial with this number; raises InputError under `trial`, telling the numbers that there are."""
    with store.read() as session:
        found = session.scalar(select(Trial).where(Trial.study_id == study_id, Trial.number == number))
        if found is not None:
            return row_of(TrialRow, found)
        low, high = session.execute(select(func.min(Trial.number), func.max(Trial.number)).where(Trial.study_id == study_id)).one()
    raise InputError("trial", number, "nothing yet" if low is None else f"a trial of study {study_id}: {low} to {high}")


def finished_trials(store: Store, study_id: str, kernel_digest: str | None = None) -> dict[str, TrialRow]:
    """Returns by key the trials that need no new run: done or infeasible, and scored by this kernel if one is given."""
    query = select(Trial).where(Trial.study_id == study_id, Trial.state.in_(["done", "infeasible"])).order_by(Trial.number)
    if kernel_digest is not None:
        query = query.where(Trial.kernel_digest == kernel_digest)
    with store.read() as session:
        return {row.key: row_of(TrialRow, row) for row in session.scalars(query)}


def frontier(store: Store, study_id: str) -> list[TrialPoint]:
    """Returns the frontier's points beside their trials, by rank."""
    with store.read() as session:
        return _points(session, Point.study_id == study_id, Point.on_frontier.is_(True))


def points(store: Store, study_id: str) -> list[TrialPoint]:
    """Returns all points of a study beside their trials, by rank, those without one last."""
    with store.read() as session:
        return _points(session, Point.study_id == study_id)


def _lines(session: Session, rows: list[StudyRow]) -> list[StudyLine]:
    ids = [row.id for row in rows]
    counts, best = _trial_counts(session, ids), _best_points(session, ids)
    return [StudyLine(row, counts.get(row.id, {}), best.get(row.id)) for row in rows]


def _newest_first() -> Select[Study]:
    return select(Study).order_by(Study.created_at.desc(), Study.id.desc())


def _found(session: Session, text: str) -> Study:
    if (exact := session.get(Study, text)) is not None:
        return exact
    if (named := session.scalar(_newest_first().where(Study.name == text).limit(1))) is not None:
        return named
    begins = func.substr(Study.id, 1, len(text)) == text
    fitting = session.scalars(_newest_first().where(begins).limit(RECENT + 1)).all() if text else []
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise InputError("study", text, f"more of the id, since it fits {_listed(fitting)}")
    recent = session.scalars(_newest_first().limit(RECENT)).all()
    raise InputError("study", text, f"the id or the name of a study; the latest: {_listed(recent)}" if recent else "nothing yet")


def _listed(found: Iterable[Study]) -> str:
    return ", ".join(f"{item.id} ({item.name})" for item in found)


def _points(session: Session, *conditions: ColumnElement[bool]) -> list[TrialPoint]:
    found = [row_of(PointRow, point) for point in session.scalars(select(Point).where(*conditions).order_by(*_BY_RANK))]
    # Each trial once, however many points it has: a trial's curve is a hundred times as long as a point's row.
    theirs = select(Trial).where(Trial.id.in_(select(Point.trial_id).where(*conditions)))
    shared = {trial.id: row_of(TrialRow, trial) for trial in session.scalars(theirs)}
    return [TrialPoint(point, shared[point.trial_id]) for point in found]


def _trial_counts(session: Session, ids: list[str]) -> dict[str, dict[TrialState, int]]:
    query = select(Trial.study_id, Trial.state, func.count()).where(Trial.study_id.in_(ids)).group_by(Trial.study_id, Trial.state)
    counts: dict[str, dict[TrialState, int]] = defaultdict(dict)
    for study_id, state, count in session.execute(query):
        counts[study_id][state] = count
    return counts


def _best_points(session: Session, ids: list[str]) -> dict[str, TrialPoint]:
    place = func.row_number().over(partition_by=Point.study_id, order_by=_BY_RANK).label("place")
    ranked = select(Point.id, place).where(Point.study_id.in_(ids), Point.on_frontier.is_(True)).subquery()
    first = select(ranked.c.id).where(ranked.c.place == 1)
    shown = (*_named(Point, PointRow, _LONG), *_named(Trial, TrialRow, _LONG))
    query = select(*shown).join(Trial, Trial.id == Point.trial_id).where(Point.id.in_(first))
    found = {}
    for row in session.execute(query).mappings():
        point, trial = _without(PointRow, "point", row, metrics={}), _without(TrialRow, "trial", row, metrics=None)
        found[point.study_id] = TrialPoint(point, trial)
    return found


def _named(table: type[Point | Trial], row: type[PointRow | TrialRow], left_out: frozenset[str]) -> list[Label[Any]]:
    """Returns the columns of a row's fields under names that tell points and trials apart."""
    kind = "point" if table is Point else "trial"
    return [getattr(table, each.name).label(f"{kind}_{each.name}") for each in fields(row) if each.name not in left_out]


def _without(cls: type[Row], kind: str, row: RowMapping, **rest: Any) -> Row:
    """Returns a row whose long columns were not read: `rest` stands for those that have no default."""
    begin = f"{kind}_"
    return cls(**{name.removeprefix(begin): value for name, value in row.items() if name.startswith(begin)}, **rest)
