"""`python -m db.draft "what changed"`: the schema's next revision, from the difference between the tables and the newest."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from db.migrate import ONE_AT_A_TIME, config, migrating, revisions
from db.session import open_store

if TYPE_CHECKING:
    from alembic.operations.ops import MigrationScript


def draft(message: str) -> Path | None:
    """Writes the next revision from the difference to `db.tables` and returns its file, None without a difference."""
    from alembic import command

    with (
        TemporaryDirectory() as folder,
        open_store(Path(folder) / "newest.db") as store,
        migrating(store.engine) as connection,
        ONE_AT_A_TIME,
    ):
        number = f"r{len(revisions()) + 1:04d}"
        script = command.revision(
            config(connection), message, autogenerate=True, rev_id=number, process_revision_directives=_drop_empty
        )
    path = getattr(script, "path", None)
    return Path(path) if path else None


def _drop_empty(_context: object, _revision: object, directives: list[MigrationScript]) -> None:
    operations = directives[0].upgrade_ops
    if operations is not None and operations.is_empty():
        directives.clear()


if __name__ == "__main__":
    print(draft(sys.argv[1]) or "the newest revision is what db.tables declares")
