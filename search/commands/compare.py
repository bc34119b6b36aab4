"""`trimtab compare`: two studies side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from search.commands import remote
from search.commands.options import DEFAULT_DB
from search.output import console, print_json


def register(app: typer.Typer) -> None:
    """Adds the command to those of `trimtab`."""
    app.command("compare")(compare)


def compare(
    left: Annotated[str, typer.Argument(metavar="STUDY", help="Id, beginning of the id, or name.", show_default=False)],
    right: Annotated[str, typer.Argument(metavar="OTHER", help="The study beside it.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
    db: Annotated[
        str, typer.Option("--db", metavar="URL", envvar="TRIMTAB_DB", help="Where studies are stored: a path or a URL.")
    ] = DEFAULT_DB,
) -> None:
    """Print two studies side by side. What was asked, and what was found."""
    if (client := remote.service()) is not None:
        with client:
            document = client.compare(left, right)
    else:
        from db import queries
        from search import compare as comparing
        from search.stored import existing

        with existing(db) as store:
            rows = [queries.study(store, name) for name in (left, right)]
            one, other = ((row, queries.frontier(store, row.id)) for row in rows)
            document = comparing.compare(one, other)
    if as_json:
        print_json(document)
    else:
        from search.compare_table import show_comparison

        show_comparison(console(), document)
