"""Nightly sweeps, written and read: runs, their cases, how a case's numbers went over the nights, baselines."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, select, tuple_

from db import outbox
from db.jsontext import check_storable
from db.rows import row_of, values_of
from db.session import Store
from db.sweep_rows import BaselineRow, SweepCaseResult, SweepCaseRow, SweepRunResult, SweepRunRow
from db.sweep_tables import Baseline, SweepCase, SweepRun
from simulator.errors import InputError

RECENT = 5
MOST_TOLD = 20


@dataclass(frozen=True)
class Night:
    """One case of one run, as a trend shows it."""

    run: SweepRunRow
    case: SweepCaseRow


def keep(store: Store, run: SweepRunResult, cases: Sequence[SweepCaseResult]) -> SweepRunRow:
    """Returns the run as stored with its cases, all or nothing; raises StoreError for what JSON cannot hold."""
    check_storable({"versions": run.versions, "summary": run.summary}, "sweep run")
    for case in cases:
        check_storable(values_of(case), f"sweep case {case.name}")
    with store.write() as session:
        row = SweepRun(id=f"r-{secrets.token_hex(6)}", **values_of(run))
        session.add(row)
        session.flush()
        session.add_all(SweepCase(run_id=row.id, **values_of(case)) for case in cases)
        if run.verdict == "changed":
            outbox.enqueue(session, "regression", _told(row, cases))
        return row_of(SweepRunRow, row)


def _told(run: SweepRun, cases: Sequence[SweepCaseResult]) -> dict[str, Any]:
    """Returns what a webhook is told of a run: what changed, at most `MOST_TOLD` sentences, and how many there are."""
    sentences = [f"{case.name}: {finding['sentence']}" for case in cases for finding in case.findings]
    return {
        "id": run.id,
        "suite": run.suite,
        "baseline": run.baseline,
        "baseline_run": run.baseline_run,
        "changed": [case.name for case in cases if case.findings],
        "findings": len(sentences),
        "sentences": sentences[:MOST_TOLD],
    }


def runs(store: Store, limit: int = 50, after: tuple[datetime, str] | None = None, suite: str | None = None) -> list[SweepRunRow]:
    """Returns at most `limit` runs, newest first, those begun before the moment and id `after`, of one suite if given."""
    query = _newest(suite).limit(limit)
    if after is not None:
        query = query.where(tuple_(SweepRun.created_at, SweepRun.id) < tuple_(*after))
    with store.read() as session:
        return [row_of(SweepRunRow, row) for row in session.scalars(query)]


def suites(store: Store) -> list[str]:
    """Returns the names of all suites that were ever run, sorted."""
    with store.read() as session:
        return list(session.scalars(select(SweepRun.suite).distinct().order_by(SweepRun.suite)))


def run(store: Store, text: str, field: str = "run") -> SweepRunRow:
    """Returns the run with this id, else the only one whose id begins so; `last` is the newest.

    Raises InputError under `field`, listing recent runs, when there is none or the beginning fits several.
    """
    with store.read() as session:
        query = _newest(None)
        if text != "last":
            query = query.where(SweepRun.id.startswith(text, autoescape=True))
        found = list(session.scalars(query.limit(2)))
        exact = next((row for row in found if row.id == text), None)
        if exact is None and found and (text == "last" or len(found) == 1) and text:
            exact = found[0]
        if exact is not None:
            return row_of(SweepRunRow, exact)
        recent = ", ".join(session.scalars(select(SweepRun.id).order_by(SweepRun.created_at.desc()).limit(RECENT)))
    raise InputError(field, text, recent or "nothing yet; trimtab sweep SUITE.yaml makes a run")


def cases(store: Store, run_id: str) -> list[SweepCaseRow]:
    """Returns the cases of a run in the order of the suite."""
    with store.read() as session:
        rows = session.scalars(select(SweepCase).where(SweepCase.run_id == run_id).order_by(SweepCase.id))
        return [row_of(SweepCaseRow, row) for row in rows]


def trend(store: Store, suite: str, name: str, limit: int = 60) -> list[Night]:
    """Returns one case over the latest `limit` runs of its suite, oldest first."""
    return trends(store, suite, [name], limit)[name]


def trends(store: Store, suite: str, names: Sequence[str], limit: int = 60) -> dict[str, list[Night]]:
    """Returns several cases over the latest `limit` runs of their suite, oldest first, by name."""
    newest = _newest(suite).limit(limit).subquery()
    query = (
        select(SweepRun, SweepCase)
        .join(SweepCase, SweepCase.run_id == SweepRun.id)
        .where(SweepRun.id.in_(select(newest.c.id)), SweepCase.name.in_(names))
        .order_by(SweepRun.created_at, SweepRun.id)
    )
    found: dict[str, list[Night]] = {name: [] for name in names}
    with store.read() as session:
        for of_run, case in session.execute(query):
            found[case.name].append(Night(row_of(SweepRunRow, of_run), row_of(SweepCaseRow, case)))
    return found


def last_on_host(store: Store, suite: str, name: str, host: str) -> SweepCaseRow | None:
    """Returns the case of the newest run of a suite on a host in which it was done; None where there is none."""
    query = (
        select(SweepCase)
        .join(SweepRun, SweepRun.id == SweepCase.run_id)
        .where(SweepRun.suite == suite, SweepRun.host == host, SweepCase.name == name, SweepCase.state == "done")
        .order_by(SweepRun.created_at.desc(), SweepRun.id.desc())
        .limit(1)
    )
    with store.read() as session:
        found = session.scalar(query)
        return None if found is None else row_of(SweepCaseRow, found)


def approve(store: Store, run_id: str, name: str, reason: str, by: str) -> BaselineRow:
    """Returns that a run is now its suite's baseline of that name; what was before stays in the history.

    Raises InputError for an empty reason or name, and for a run that the store does not have.
    """
    for field, value in (("--reason", reason), ("--baseline", name)):
        if not value.strip() or (field == "--baseline" and len(value) > 128):
            raise InputError(field, value, "a sentence" if field == "--reason" else "a name of at most 128 characters")
    approved = run(store, run_id, "RUN")
    with store.write() as session:
        row = Baseline(
            suite=approved.suite, name=name, run_id=approved.id, reason=reason, approved_by=by, approved_at=datetime.now(UTC)
        )
        session.add(row)
        session.flush()
        return row_of(BaselineRow, row)


def baselines(store: Store, suite: str | None = None, name: str | None = None) -> list[BaselineRow]:
    """Returns every approval, newest first, of one suite and name if given."""
    query = select(Baseline).order_by(Baseline.id.desc())
    if suite is not None:
        query = query.where(Baseline.suite == suite)
    if name is not None:
        query = query.where(Baseline.name == name)
    with store.read() as session:
        return [row_of(BaselineRow, row) for row in session.scalars(query)]


def baseline(store: Store, suite: str, name: str) -> BaselineRow | None:
    """Returns the approval that holds for a name; None where no run was approved."""
    return next(iter(baselines(store, suite, name)), None)


def _newest(suite: str | None) -> Select[SweepRun]:
    query = select(SweepRun).order_by(SweepRun.created_at.desc(), SweepRun.id.desc())
    return query if suite is None else query.where(SweepRun.suite == suite)
