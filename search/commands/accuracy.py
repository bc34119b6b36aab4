"""`trimtab accuracy`: predictions beside measured sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.commands.options import Json


def register(app: typer.Typer) -> None:
    """Adds the command to those of `trimtab`."""
    app.command()(accuracy)


def accuracy(
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Measured sets, else TRIMTAB_DATA.")] = None,
    sets: Annotated[str | None, typer.Option("--sets", metavar="A,B", help="Only these sets.")] = None,
    as_json: Json = False,
    write: Annotated[Path | None, typer.Option("--write", metavar="DIR", help="Write pages, JSON and known errors.")] = None,
) -> None:
    """Score the simulator against measured sets."""
    from search import accuracy as scores

    scores.run(data, sets, as_json, write)
