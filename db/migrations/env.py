"""What Alembic runs for every command: it works on the connection that `db.migrate` hands over."""

from __future__ import annotations

from typing import Literal

from alembic import context

from db import sweep_tables  # noqa: F401 (its tables join those of db.tables)
from db.migrate import VERSION_TABLE
from db.tables import Base, UtcDateTime


def _render(kind: str, item: object, _context: object) -> str | Literal[False]:
    # A revision stays what it was when the code around it moves on, so it names SQL types only.
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
    # SQLite can do it, since transactions begin by our own BEGIN IMMEDIATE and not by the driver.
    transactional_ddl=True,
    render_item=_render,
)
with context.begin_transaction():
    context.run_migrations()
