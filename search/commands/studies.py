"""`trimtab studies`, `frontier` and `export`: what a store has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.commands import remote
from search.commands.options import DEFAULT_DB, Db, Json, StudyName
from search.output import check_target, console, print_json
from simulator.errors import InputError


def register(app: typer.Typer) -> None:
    """Adds the commands to those of `trimtab`."""
    app.command()(studies)
    app.command()(frontier)
    app.command()(export)


def studies(
    as_json: Json = False,
    db: Db = DEFAULT_DB,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="The most to list, newest first.")] = 50,
) -> None:
    """List the studies of a store."""
    from db import queries
    from search import documents, stored
    from search.table import show_studies

    if limit < 1:
        raise InputError("--limit", limit, "a whole number from 1")
    if (client := remote.service()) is not None:
        with client:
            remote.studies(client, limit, as_json=as_json)
        return
    lines = []
    if stored.is_there(db):
        with stored.existing(db) as store:
            lines = queries.studies(store, limit + 1)
    shown, cursor = lines[:limit], lines[limit - 1].study.id if len(lines) > limit else None
    if as_json:
        print_json(documents.studies(shown, cursor))
    else:
        show_studies(console(), shown, db, more=cursor is not None)


def frontier(
    study: StudyName,
    as_json: Json = False,
    db: Db = DEFAULT_DB,
    every: Annotated[bool, typer.Option("--all", help="Every operating point, not only the best of each deployment.")] = False,
) -> None:
    """Print the frontier of a study."""
    if (client := remote.service()) is not None:
        with client:
            remote.frontier(client, study, as_json=as_json, every=every)
        return
    from search import stored

    with stored.existing(db) as store:
        stored.show_frontier(store, study, as_json=as_json, every=every)


def export(
    study: StudyName,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Standard output by default.", show_default=False)] = None,
    db: Db = DEFAULT_DB,
    as_csv: Annotated[bool, typer.Option("--csv", help="One row an operating point.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All that is stored, as one document.")] = False,
    as_html: Annotated[bool, typer.Option("--html", help="A report in one file for a browser.")] = False,
) -> None:
    """Write a study to a file."""
    from db import queries, validations
    from search import export as exports
    from search import stored

    kind = exports.kind_of({"csv": as_csv, "json": as_json, "html": as_html}, file)
    if file is not None:
        check_target(file, "FILE")
    if (client := remote.service()) is not None:
        with client:
            remote.export(client, study, kind, file)
        return
    with stored.existing(db) as store:
        row = queries.study(store, study)
        shown = queries.trials(store, row.id), queries.points(store, row.id), validations.of_study(store, row.id)
        exports.write(kind, file, row, *shown)
