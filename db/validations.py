"""Validations and corrections, written and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, select

from db.jsontext import check_storable
from db.rows import CorrectionResult, CorrectionRow, ValidationResult, ValidationRow, row_of, values_of
from db.session import Store
from db.tables import Correction, Study, Trial, Validation
from simulator.errors import InputError, StoreError


def keep(store: Store, study_id: str, trial: int, result: ValidationResult) -> ValidationRow:
    """Returns the validation as stored; one of the same trial number, engine and load is replaced.

    Raises StoreError for a trial that the study does not have.
    """
    values = values_of(result)
    check_storable({name: value for name, value in values.items() if not isinstance(value, datetime)}, "validation")
    with store.write() as session:
        owner = session.scalar(select(Trial.id).where(Trial.study_id == study_id, Trial.number == trial))
        if owner is None:
            raise StoreError(f"study {study_id} has no trial {trial}")
        session.execute(
            delete(Validation).where(
                Validation.trial_id == owner, Validation.engine == result.engine, Validation.load == result.load
            )
        )
        row = Validation(study_id=study_id, trial_id=owner, **values)
        session.add(row)
        session.flush()
        return row_of(ValidationRow, row)


def of_study(store: Store, study_id: str, engine: str | None = None) -> list[tuple[int, ValidationRow]]:
    """Returns the validations of a study beside the numbers of their trials, by trial and load."""
    query = select(Trial.number, Validation).join(Trial, Trial.id == Validation.trial_id).where(Validation.study_id == study_id)
    if engine is not None:
        query = query.where(Validation.engine == engine)
    with store.read() as session:
        found = session.execute(query.order_by(Trial.number, Validation.engine, Validation.load))
        return [(number, row_of(ValidationRow, row)) for number, row in found]


@dataclass(frozen=True)
class Found:
    """A validation with the number of its trial and the name of its study."""

    row: ValidationRow
    trial: int
    name: str


def newest(
    store: Store,
    limit: int,
    before: int | None = None,
    *,
    engine: str | None = None,
    device: str | None = None,
    study_id: str | None = None,
) -> list[Found]:
    """Returns at most `limit` validations, newest first, those before the id `before`: of all studies, or as chosen."""
    query = (
        select(Validation, Trial.number, Study.name)
        .join(Trial, Trial.id == Validation.trial_id)
        .join(Study, Study.id == Validation.study_id)
        .order_by(Validation.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(Validation.id < before)
    if engine is not None:
        query = query.where(Validation.engine == engine)
    if device is not None:
        query = query.where(Validation.device == device)
    if study_id is not None:
        query = query.where(Validation.study_id == study_id)
    with store.read() as session:
        return [Found(row_of(ValidationRow, row), number, name) for row, number, name in session.execute(query)]


def places(store: Store) -> list[tuple[str, str]]:
    """Returns every device with each engine that anything was measured on, sorted."""
    query = select(Validation.device, Validation.engine).distinct().order_by(Validation.device, Validation.engine)
    with store.read() as session:
        return [(device, engine) for device, engine in session.execute(query)]


def keep_correction(store: Store, result: CorrectionResult) -> CorrectionRow:
    """Returns the correction as stored; raises InputError for a name that another one has."""
    check_storable(values_of(result), "correction")
    with store.write() as session:
        if session.get(Correction, result.name) is not None:
            raise InputError("--fit", result.name, "a name that no correction has yet, since answers refer to corrections by name")
        row = Correction(created_at=datetime.now(UTC), **values_of(result))
        session.add(row)
        session.flush()
        return row_of(CorrectionRow, row)


def corrections(store: Store) -> Mapping[str, CorrectionRow]:
    """Returns all corrections by name."""
    with store.read() as session:
        return {row.name: row_of(CorrectionRow, row) for row in session.scalars(select(Correction).order_by(Correction.name))}
