"""The queries that a service asks all day find what they look for by an index, on both databases, in a store with data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, insert, text

from db import pages, queries, record
from db.rows import PointResult, StudyRow, TrialResult, values_of
from db.session import Store
from db.tables import Point, Trial

STUDIES, TRIALS = 8, 40


@pytest.fixture
def filled(store: Store, new_study: Callable[..., StudyRow], result: Callable[..., TrialResult]) -> Store:
    """Returns a store with studies, trials and points."""
    for number in range(STUDIES):
        study = new_study(store, name=f"study-{number}")
        first = record.upsert_trial(store, study.id, result("first"), [_best()])
        rest = [
            {**values_of(result(f"k{place}")), "study_id": study.id, "number": place, "created_at": first.created_at,
             "updated_at": first.created_at}
            for place in range(1, TRIALS)
        ]  # fmt: skip
        with store.write() as session:
            session.execute(insert(Trial), rest)
            point = values_of(PointResult(rate_rps=2.0, metrics={}, objectives={}))
            session.execute(insert(Point), [{**point, "study_id": study.id, "trial_id": first.id} for _ in range(TRIALS)])
    with store.write() as session:
        session.execute(text("ANALYZE"))
    return store


def _best() -> PointResult:
    return PointResult(rate_rps=1.0, metrics={}, objectives={}, on_frontier=True, rank=1)


def plans(store: Store, ask: Callable[[], Any]) -> list[str]:
    """Returns the plan of every query that `ask` makes."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    event.listen(store.engine, "before_cursor_execute", note)
    try:
        ask()
    finally:
        event.remove(store.engine, "before_cursor_execute", note)
    prefix = "EXPLAIN QUERY PLAN " if store.engine.dialect.name == "sqlite" else "EXPLAIN "
    found = []
    with store.engine.connect() as connection:
        for statement, parameters in asked:
            if statement.startswith("SELECT"):
                if store.engine.dialect.name != "sqlite":
                    # A planner that has a few pages to read reads them; what counts is whether it could do better.
                    connection.exec_driver_sql("SET enable_seqscan = off")
                rows = connection.exec_driver_sql(prefix + statement, parameters)
                found.append("\n".join(str(row[-1]) for row in rows))
    return found


def scans(plan: str) -> list[str]:
    """Returns the lines of a plan that read a whole table."""
    lines = [line.strip() for line in plan.splitlines()]
    whole = [line for line in lines if "Seq Scan" in line or (line.startswith("SCAN ") and "USING" not in line)]
    return [line for line in whole if any(table in line for table in ("studies", "trials", "points"))]


@pytest.mark.parametrize("ask", ["studies", "older", "frontier", "counts", "trials"])
def test_a_query_reads_no_whole_table(filled: Store, ask: str) -> None:
    newest = pages.studies(filled, 3)[-1].study
    questions: dict[str, Callable[[], Any]] = {
        "studies": lambda: pages.studies(filled, 20),
        "older": lambda: pages.studies(filled, 20, (newest.created_at, newest.id)),
        "frontier": lambda: queries.frontier(filled, newest.id),
        "counts": lambda: queries.trial_counts(filled, newest.id),
        "trials": lambda: pages.trials(filled, newest.id, 20, 10),
    }
    found = plans(filled, questions[ask])
    assert found
    for plan in found:
        assert scans(plan) == [], plan


def test_trials_are_counted_in_the_index_alone(filled: Store) -> None:
    if filled.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL reads an index alone only after a vacuum")
    study = pages.studies(filled, 1)[0].study
    (plan,) = plans(filled, lambda: queries.trial_counts(filled, study.id))
    assert "COVERING INDEX ix_trials_study_id_state" in plan
