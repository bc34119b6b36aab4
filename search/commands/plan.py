"""`trimtab plan`: a fleet over a week, what it costs, and what a budget buys."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from search.commands import remote
from search.commands.options import DEFAULT_DB
from search.output import console, print_json


def register(app: typer.Typer) -> None:
    """Adds the command to the console."""
    app.command("plan")(plan)


def plan(
    file: Annotated[Path, typer.Argument(metavar="REQUEST.yaml", help="Demand, deployments, rules.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
    db: Annotated[
        str, typer.Option("--db", metavar="URL", envvar="TRIMTAB_DB", help="Where the request's study is stored.")
    ] = DEFAULT_DB,
) -> None:
    """Plan a fleet over a week, and its cost."""
    if (client := remote.service()) is not None:
        with client:
            remote.plan(client, file, as_json=as_json)
        return
    from search.plan.request import read

    request = read(file)

    from search import plan as plans
    from search.stored import existing

    if request.study is None:
        found = plans.plan(request, report=_report)
    else:
        with existing(db) as store:
            found = plans.plan(request, store, _report)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        from search.plan_table import show_plan

        show_plan(console(), found)


def _report(sentence: str) -> None:
    if sys.stderr.isatty():
        print(f"planning: {sentence}", file=sys.stderr, flush=True)
