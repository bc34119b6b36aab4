"""`trimtab backup`, `prune` and `doctor`, `migrate --to` and `warmup`: what keeps an installation well."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from search.commands.keys import span
from search.commands.options import DEFAULT_DB, Db, Json
from search.output import check_target, print_json
from simulator.errors import InputError


def register(app: typer.Typer) -> None:
    """Adds the commands to those of `trimtab`."""
    for command in (migrate, backup, prune, doctor, warmup):
        app.command()(command)


def migrate(
    db: Db = DEFAULT_DB,
    to: Annotated[str | None, typer.Option("--to", metavar="REVISION", help="Another revision than the newest.")] = None,
) -> None:
    """Bring a store to the newest schema, or make a new one. --to goes back to an older one, which loses what came since."""
    from db import upkeep
    from db.migrate import revisions
    from db.session import open_store

    with open_store(db) as store:
        revision = revisions()[-1] if to is None else upkeep.move(store, to)
        print(f"{store.place}: schema {revision}")


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the copy is put.", show_default=False)], db: Db = DEFAULT_DB
) -> None:
    """Copy an SQLite store while it is in use. PostgreSQL is copied by pg_dump."""
    from db import upkeep

    check_target(file, "FILE")
    print(f"{file}: {upkeep.backup(db, file):,} bytes")


def prune(
    older_than: Annotated[str, typer.Option("--older-than", metavar="SPAN", help="Such as 90d.", show_default=False)],
    keep: Annotated[list[str] | None, typer.Option("--keep", metavar="STUDY", help="Whole id or name of one that stays.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    db: Db = DEFAULT_DB,
    as_json: Json = False,
) -> None:
    """Remove studies that ended long ago. With them go old events, and traces that no study needs."""
    from db import upkeep
    from db.session import open_store

    before = datetime.now(UTC) - span(older_than, "--older-than")
    with open_store(db) as store:
        counts = upkeep.prune(store, before, keep=frozenset(keep or ()), dry_run=dry_run)
    if as_json:
        print_json({"before": before.isoformat(timespec="seconds"), "dry_run": dry_run, "removed": counts})
        return
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    print(f"{'would remove' if dry_run else 'removed'} {told}")


def doctor(
    db: Db = DEFAULT_DB,
    address: Annotated[str | None, typer.Option("--address", metavar="HOST:PORT", help="Ray's; RAY_ADDRESS.")] = None,
    as_json: Json = False,
) -> None:
    """Look at what is installed, reachable and writable. Exit status 1 when something fails."""
    from search.doctor import findings

    if address is not None and ":" not in address:
        raise InputError("--address", address, "HOST:PORT")
    found = list(findings(db, address))
    if as_json:
        print_json({"items": [asdict(each) for each in found]})
    else:
        for each in found:
            print(f"{each.state:<4}  {each.what}: {each.found}" + (f"; {each.fix}" if each.fix else ""))
    if any(each.state == "fail" for each in found):
        raise typer.Exit(1)


def warmup() -> None:
    """Compile the simulator now, so that the first run need not."""
    from simulator.cli import warm_up
    from simulator.kernel.jit import cache_folder

    print(f"{warm_up()} kernels are compiled in {cache_folder()}")
