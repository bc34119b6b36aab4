"""What a page shows of a study, however large it is: a few rows, without their curves, chosen or sorted by the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import load_only

from db.rows import PointRow, TrialPoint, TrialRow, TrialState
from db.session import Store
from db.tables import Point, Trial

_LIGHT = tuple(name for name in TrialRow.__dataclass_fields__ if name not in ("curve", "provenance", "memory", "metrics", "key"))
_LEFT_OUT: dict[str, Any] = {"curve": [], "provenance": {}, "memory": None, "metrics": None, "key": ""}
_OWN = ("capacity_rps",)
Kind = Literal["text", "number"]
Operation = Literal["contains", "equals", "lessThan", "greaterThan", "inRange", "oneOf"]


@dataclass(frozen=True)
class Field:
    """A column of a list of trials: `path` leads to its value from the row, such as `deployment device`."""

    path: tuple[str, ...]
    kind: Kind = "number"


@dataclass(frozen=True)
class Condition:
    """What a column must be: `values` are a text, a number, two ends, or the choices."""

    field: Field
    operation: Operation
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Page:
    """Rows of a list of trials, each by the names of its fields, and how many there are in all."""

    rows: list[dict[str, Any]]
    total: int


@dataclass(frozen=True)
class Reason:
    """Why trials have no answer: their state, how many they are, and the number of one of them."""

    state: TrialState
    reason: str | None
    amount: int
    example: int


def stored_value(objective: str) -> Field:
    """Returns where a trial's value of an objective lies nearest to the beginning of its row, which is read sooner."""
    if objective in _OWN:
        return Field((objective,))
    if objective.startswith("usd_per_") or objective == "gpus":
        return Field(("metrics", objective))
    kind, _, rest = objective.partition("_")
    statistic, _, unit = rest.partition("_")
    if unit == "s" and kind in ("ttft", "tpot", "itl", "e2e"):
        return Field(("metrics", f"{kind}_s", statistic))
    return Field(("objectives", objective))


def page(
    store: Store,
    study_id: str,
    fields: Mapping[str, Field],
    span: tuple[int, int],
    order: Sequence[tuple[str, bool]] = (),
    conditions: Sequence[Condition] = (),
) -> Page:
    """Returns the rows of a list of trials from span[0] to before span[1]; `order` holds names and whether they ascend."""
    where = [Trial.study_id == study_id, *(_fits(condition) for condition in conditions)]
    by = [_ordered(_value(fields[name]), ascending) for name, ascending in order if name in fields]
    begin, end = span
    chosen = select(Trial.id).where(*where).order_by(*(each for pair in by for each in pair), Trial.number)
    with store.read() as session:
        total = session.scalar(select(func.count()).select_from(Trial).where(*where)) or 0
        ids = session.scalars(chosen.offset(begin).limit(end - begin)).all()
        # Values are read of the rows that are shown alone.
        columns = [_value(field).label(name) for name, field in fields.items()]
        found = {row.id: row for row in session.execute(select(Trial.id, *columns).where(Trial.id.in_(ids)))}
        rows = [{name: getattr(found[each], name) for name in fields} for each in ids]
    return Page(rows, total)


def sample(store: Store, study_id: str, fields: Mapping[str, Field], most: int) -> Page:
    """Returns the fields of at most `most` trials that are done, evenly chosen by number, and how many are done."""
    done = [Trial.study_id == study_id, Trial.state == "done"]
    with store.read() as session:
        total = session.scalar(select(func.count()).select_from(Trial).where(*done)) or 0
        columns = [_value(field).label(name) for name, field in fields.items()]
        query = select(*columns).where(*done, *_every(session.scalar(_count(study_id)) or 0, most)).order_by(Trial.number)
        rows = [dict(row._mapping) for row in session.execute(query)]
    return Page(rows, total)


def frontier(store: Store, study_id: str, most: int) -> list[TrialPoint]:
    """Returns at most `most` points of the frontier by rank, beside their trials, which come without curve and memory."""
    query = select(Point, Trial).join(Trial, Trial.id == Point.trial_id)
    query = query.where(Point.study_id == study_id, Point.on_frontier.is_(True))
    query = query.order_by(Point.rank.is_(None), Point.rank, Point.id).limit(most)
    with store.read() as session:
        options = load_only(*(getattr(Trial, name) for name in (*_LIGHT, "provenance")))
        rows = session.execute(query.options(options)).all()
        return [TrialPoint(_point(point, point.metrics), _light(trial, provenance=trial.provenance)) for point, trial in rows]


def beaten(store: Store, study_id: str, most: int) -> list[TrialPoint]:
    """Returns points off the frontier of at most `most` trials, evenly chosen, without the rest of their Metrics than `slo_met`."""
    done = [Trial.study_id == study_id, Trial.state == "done"]
    with store.read() as session:
        every = _every(session.scalar(_count(study_id)) or 0, most)
        query = select(Trial).where(*done, *every).options(load_only(*(getattr(Trial, name) for name in _LIGHT)))
        trials = {trial.id: _light(trial) for trial in session.scalars(query)}
        plain = [getattr(Point, name) for name in PointRow.__dataclass_fields__ if name != "metrics"]
        points = select(*plain, Point.metrics["slo_met"].as_boolean().label("slo_met"))
        points = points.where(Point.trial_id.in_(trials), Point.on_frontier.is_(False))
        found = []
        for row in session.execute(points):
            values = dict(row._mapping)
            met = values.pop("slo_met")
            found.append(TrialPoint(PointRow(**values, metrics={"slo_met": met}), trials[row.trial_id]))
        return found


def contenders(store: Store, study_id: str, objective: str, ascending: bool, most: int) -> list[int]:
    """Returns the numbers of at most `most` trials that are done: those on the frontier, then the best by an objective."""
    first = select(Trial.number).join(Point, Point.trial_id == Trial.id)
    first = first.where(Point.study_id == study_id, Point.on_frontier.is_(True)).order_by(Point.rank)
    value = _value(stored_value(objective))
    rest = select(Trial.number).where(Trial.study_id == study_id, Trial.state == "done")
    rest = rest.order_by(*_ordered(value, ascending), Trial.number).limit(most)
    with store.read() as session:
        return list(dict.fromkeys([*session.scalars(first.limit(most)), *session.scalars(rest)]))[:most]


def with_curves(store: Store, study_id: str, numbers: Sequence[int]) -> list[TrialRow]:
    """Returns trials with their curves, by number, those without provenance and memory that were not asked for."""
    query = select(Trial).where(Trial.study_id == study_id, Trial.number.in_(numbers)).order_by(Trial.number)
    options = load_only(*(getattr(Trial, name) for name in (*_LIGHT, "curve")))
    with store.read() as session:
        return [_light(trial, curve=trial.curve) for trial in session.scalars(query.options(options))]


def reasons(store: Store, study_id: str, most: int) -> list[Reason]:
    """Returns at most `most` reasons of trials without an answer, the most frequent first."""
    query = select(Trial.state, Trial.reason, func.count().label("amount"), func.min(Trial.number))
    query = query.where(Trial.study_id == study_id, Trial.state != "done").group_by(Trial.state, Trial.reason)
    with store.read() as session:
        rows = session.execute(query.order_by(func.count().desc(), func.min(Trial.number)).limit(most))
        return [Reason(*row) for row in rows]


def _count(study_id: str) -> Select[int]:
    return select(func.count()).select_from(Trial).where(Trial.study_id == study_id)


def _every(total: int, most: int) -> list[ColumnElement[bool]]:
    """Returns the condition that takes every so many-th trial by number, none where all are few enough."""
    return [] if total <= most else [Trial.number % -(-total // most) == 0]


def _value(field: Field) -> ColumnElement[Any]:
    column: Any = getattr(Trial, field.path[0])
    for name in field.path[1:]:
        column = column[name]
    if len(field.path) == 1:
        return column  # type: ignore[no-any-return]
    return column.as_string() if field.kind == "text" else column.as_float()  # type: ignore[no-any-return]


def _ordered(value: ColumnElement[Any], ascending: bool) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Returns the order by a value, rows without one last: databases disagree on where they come by themselves."""
    return value.is_(None), value.asc() if ascending else value.desc()


def _fits(condition: Condition) -> ColumnElement[bool]:
    value: Any = _value(condition.field)
    values, operation = condition.values, condition.operation
    found: ColumnElement[bool]
    if operation == "contains":
        found = value.icontains(str(values[0]), autoescape=True)
    elif operation == "oneOf":
        found = or_(*(value == each for each in values))
    elif operation == "lessThan":
        found = value < values[0]
    elif operation == "greaterThan":
        found = value > values[0]
    elif operation == "inRange":
        found = value.between(values[0], values[1])
    else:
        found = value == values[0]
    return found


def _light(trial: Trial, **more: Any) -> TrialRow:
    return TrialRow(**{name: getattr(trial, name) for name in _LIGHT}, **{**_LEFT_OUT, **more})


def _point(point: Point, metrics: dict[str, Any]) -> PointRow:
    names = [name for name in PointRow.__dataclass_fields__ if name != "metrics"]
    return PointRow(**{name: getattr(point, name) for name in names}, metrics=metrics)
