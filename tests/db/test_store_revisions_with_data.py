"""Every revision, with a row in every table that it has: up to the newest and down again, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from db import migrate
from db.session import open_store

Make = Callable[..., Any]
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _value(column: sa.Column[Any]) -> object:
    match column.type:
        case sa.Boolean():
            return True
        case sa.JSON():
            return {"a": [1]}
        case sa.DateTime():
            return NOW
        case sa.LargeBinary():
            return b"\0\1"
        case sa.Integer():
            return 1
        case sa.Float():
            return 0.5
        case _:
            # A state that every table knows.
            return "done" if column.name == "state" else "x"


def _fill(connection: sa.Connection) -> dict[str, int]:
    """Puts a row into every table, parents first, and returns the counts."""
    metadata = sa.MetaData()
    metadata.reflect(connection)
    tables = [table for table in metadata.sorted_tables if table.name != migrate.VERSION_TABLE]
    for table in tables:
        connection.execute(table.insert().values({column.name: _value(column) for column in table.columns}))
    return {table.name: 1 for table in tables}


def _counts(connection: sa.Connection) -> dict[str, int]:
    metadata = sa.MetaData()
    metadata.reflect(connection)
    tables = [table for table in metadata.sorted_tables if table.name != migrate.VERSION_TABLE]
    return {table.name: connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in tables}


@pytest.mark.parametrize("revision", migrate.revisions())
def test_a_filled_store_of_any_revision_comes_up_to_the_newest_and_keeps_its_rows(url: str, engine_of: Make, revision: str) -> None:
    engine = engine_of(url)
    with migrate.migrating(engine) as connection:
        migrate.upgrade(connection, revision)
        filled = _fill(connection)
    assert filled
    open_store(url).close()
    with engine_of(url).connect() as connection:
        after = _counts(connection)
    assert {name: after.get(name) for name in filled} == filled


def test_a_filled_store_goes_down_step_by_step_and_keeps_what_there_still_is(url: str, engine_of: Make) -> None:
    open_store(url).close()
    engine = engine_of(url)
    with migrate.migrating(engine) as connection:
        filled = _fill(connection)
    for lower in reversed(("base", *migrate.revisions()[:-1])):
        with migrate.migrating(engine) as connection:
            migrate.downgrade(connection, lower)
        with engine.connect() as connection:
            left = _counts(connection)
        assert left == {name: filled[name] for name in left}
    assert left == {}
