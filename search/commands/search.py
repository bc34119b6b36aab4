"""`trimtab search`: a study run to its end, here or by a service."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from search.commands import remote, validate
from search.commands.options import DEFAULT_DB, Db, Json
from simulator.errors import Infeasible, InputError, unknown_name

Request = Annotated[Path, typer.Argument(metavar="REQUEST.yaml", help="What to search.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Adds the command to those of `trimtab`."""
    app.command()(search)


def search(
    file: Request,
    as_json: Json = False,
    db: Db = DEFAULT_DB,
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", help="Deployments to try, instead of the request's.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Seed, instead of the request's.")] = None,
    executor: Annotated[str, typer.Option("--executor", metavar="NAME", help="auto, threads, ray or inline.")] = "auto",
    address: Annotated[str | None, typer.Option("--address", help="Address of a Ray cluster, for ray.")] = None,
    correction: Annotated[str | None, typer.Option("--correction", metavar="NAME", help="A stored correction.")] = None,
) -> None:
    """Run a study to its end and print its frontier."""
    from search import executor as executors
    from search import request as requests

    if executor not in executors.names():
        raise unknown_name("--executor", executor, executors.names())
    if (client := remote.service()) is not None:
        if correction is not None:
            raise InputError(
                "--correction", correction, "nothing with --server: the corrections of this machine's store are not there"
            )
        with client:
            remote.search(client, file, trials, seed, as_json=as_json)
        return
    request = requests.read(file).override(trials, seed)
    if correction is not None:
        request = validate.corrected(request, correction, db)

    from search import service, stored
    from search.check import check
    from search.driver import Stopped
    from search.progress import Interrupt, Reporter

    check(request)
    try:
        with Interrupt() as stop, Reporter() as report:
            study = service.run_search(request, db=db, executor=executor, address=address, report=report, stop=stop)
    except (Stopped, KeyboardInterrupt):
        print(f"interrupted: kept {stored.kept(db, request)} trials; the same command resumes", file=sys.stderr)
        raise typer.Exit(130) from None
    except Infeasible:
        stored.show_infeasible(db, request, as_json=as_json)
        raise
    with stored.existing(db) as store:
        stored.show_frontier(store, study, as_json=as_json)
