"""Writes, each one short transaction: it is stored whole when the function returns, or not at all when it raises.

Every write of a study first locks the study's row, so that processes that write to one study take turns on
PostgreSQL as they do on SQLite, and what a write reads before it changes it cannot be stale.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypedDict, Unpack

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from db import events, outbox, turns
from db.jsontext import check_storable
from db.rows import FinalState, PointResult, StudyRow, TrialResult, TrialRow, row_of, values_of
from db.session import Store
from db.tables import Job, Point, Study, Trial
from simulator.errors import StoreError

# PostgreSQL's indexes hold 2,704 bytes an entry.
KEY_BYTES = 2000


class NewStudy(TypedDict):
    """The fields of a study that is to be made."""

    name: str
    digest: str
    request: dict[str, Any]
    seed: int
    versions: dict[str, Any]
    kernel_digest: str


def create_study(
    store: Store,
    **fields: Unpack[NewStudy],
) -> StudyRow:
    """Returns a new study in state `queued`, under an id that nobody has."""
    with store.write() as session:
        return row_of(StudyRow, created(session, **fields))


def start_study(store: Store, study_id: str, resume: bool = False) -> StudyRow:
    """Returns the study, now `running`; raises StoreError unless it is queued or, with `resume`, unfinished.

    Of two workers that start one queued study the second is refused. A resumed study keeps its first start.
    """
    startable = {"queued", "running", "cancelled", "failed"} if resume else {"queued"}
    with store.write() as session:
        study = turns.locked(session, study_id)
        if study.state not in startable:
            raise StoreError(f"study {study_id} cannot be started: it is {study.state}")
        return row_of(StudyRow, moved(session, study_id, "running"))


def begin_anew(store: Store, study_id: str, versions: dict[str, Any], kernel_digest: str) -> StudyRow:
    """Returns the study, now of this software and without the trials and points that other software had scored."""
    with store.write() as session:
        study = turns.locked(session, study_id)
        session.execute(delete(Trial).where(Trial.study_id == study_id))
        study.versions, study.kernel_digest = versions, kernel_digest
        events.add(session, study_id, "note", {"sentence": "begun anew: its trials were scored by another version of the software"})
        return row_of(StudyRow, study)


def upsert_trial(
    store: Store,
    study_id: str,
    result: TrialResult,
    points: Sequence[PointResult] = (),
    number: int | None = None,
) -> TrialRow:
    """Returns the trial as stored; a trial of the same key is replaced together with all its points.

    A new trial takes `number`, or the next free one; a replaced trial keeps its own.
    """
    _check_trial(result, points)
    now = datetime.now(UTC)
    with store.write() as session:
        turns.lock(session, study_id)
        trial = session.scalar(select(Trial).where(Trial.study_id == study_id, Trial.key == result.key))
        if trial is None:
            free = _free_number(session, study_id, number)
            trial = Trial(study_id=study_id, number=free, created_at=now, updated_at=now, **values_of(result))
            session.add(trial)
        else:
            for name, value in values_of(result).items():
                setattr(trial, name, value)
            trial.updated_at = now
            session.execute(delete(Point).where(Point.trial_id == trial.id))
        session.flush()
        _add_points(session, trial, points)
        return row_of(TrialRow, trial)


def replace_points(store: Store, study_id: str, points: Mapping[str, Sequence[PointResult]]) -> None:
    """Replaces all points of a study by `points`, which lie under the keys of its trials."""
    for key, results in points.items():
        _check_points(results, f"trial {key[:60]}")
    with store.write() as session:
        turns.lock(session, study_id)
        trials = {trial.key: trial for trial in session.scalars(select(Trial).where(Trial.study_id == study_id))}
        if unknown := sorted(points.keys() - trials.keys()):
            raise StoreError(f"study {study_id} has no trial with the key {unknown[0]}")
        session.execute(delete(Point).where(Point.study_id == study_id))
        for key, results in points.items():
            _add_points(session, trials[key], results)


def finish_study(store: Store, study_id: str, state: FinalState, summary: dict[str, Any] | None = None) -> StudyRow:
    """Returns the study as it now stands: the first final state stays, so a cancelled study is not `done` later.

    A summary is kept as well, unless the study ended otherwise and has one from that.
    """
    check_storable(summary, "study.summary")
    with store.write() as session:
        return row_of(StudyRow, finished(session, study_id, state, summary))


def delete_study(store: Store, study_id: str) -> None:
    """Removes a study with its trials, points, jobs and events; who runs it loses its lease."""
    with store.write() as session:
        # Jobs before studies, as workers lock them.
        session.execute(select(Job.id).where(Job.study_id == study_id).with_for_update()).all()
        turns.lock(session, study_id)
        session.execute(delete(Study).where(Study.id == study_id))


def created(
    session: Session,
    **fields: Unpack[NewStudy],
) -> Study:
    """Returns a new study in state `queued`, under an id that nobody has, in the session's transaction."""
    check_storable({"request": fields["request"], "versions": fields["versions"]}, "study")
    study = Study(id=_new_id(session), state="queued", created_at=datetime.now(UTC), **fields)
    session.add(study)
    session.flush()
    events.add(session, study.id, "state", {"state": "queued"})
    return study


def moved(session: Session, study_id: str, state: Literal["queued", "running"]) -> Study:
    """Returns the study, now waiting or running, in the session's transaction; it keeps its first start."""
    study = turns.locked(session, study_id)
    if study.state != state:
        study.state = state
        events.add(session, study_id, "state", {"state": state})
    if state == "running":
        study.started_at = study.started_at or datetime.now(UTC)
    study.finished_at = None
    return study


def finished(session: Session, study_id: str, state: FinalState, summary: dict[str, Any] | None) -> Study:
    """Returns the study in its final state, in the session's transaction; see `finish_study`."""
    study = turns.locked(session, study_id)
    if study.state in ("queued", "running"):
        study.state = state
        study.finished_at = datetime.now(UTC)
        sentence = (summary or {}).get("sentence")
        events.add(session, study_id, "state", {"state": state} | ({"sentence": sentence} if sentence else {}))
        told = {"id": study_id, "name": study.name, "state": state, "sentence": sentence, "path": f"/studies/{study_id}"}
        outbox.enqueue(session, f"study.{state}", told)
    if summary is not None and (study.state == state or study.summary is None):
        study.summary = summary
    return study


def _new_id(session: Session) -> str:
    while True:
        candidate = f"s-{secrets.token_hex(4)}"
        if session.get(Study, candidate) is None:
            return candidate


def _free_number(session: Session, study_id: str, wanted: int | None) -> int:
    if wanted is None:
        last = session.scalar(select(func.max(Trial.number)).where(Trial.study_id == study_id))
        return 0 if last is None else last + 1
    taken = session.scalar(select(Trial.key).where(Trial.study_id == study_id, Trial.number == wanted))
    if taken is not None:
        raise StoreError(f"trial {wanted} of study {study_id} is another deployment already: {taken}")
    return wanted


def _add_points(session: Session, trial: Trial, points: Sequence[PointResult]) -> None:
    if points:
        owner = {"study_id": trial.study_id, "trial_id": trial.id}
        session.execute(insert(Point), [owner | values_of(point) for point in points])


def _check_trial(result: TrialResult, points: Sequence[PointResult]) -> None:
    if len(result.key.encode(errors="replace")) > KEY_BYTES:
        raise StoreError(f"trial.key cannot be stored: it is longer than {KEY_BYTES:,} bytes")
    check_storable(values_of(result), "trial")
    _check_points(points, "trial")


def _check_points(points: Sequence[PointResult], where: str) -> None:
    for position, point in enumerate(points):
        check_storable(values_of(point), f"{where}.points[{position}]")
