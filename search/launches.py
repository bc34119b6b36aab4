"""`trimtab launch`: a trial of a study as something that can be run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.usage import DEFAULT_DB
from simulator.errors import unknown_name


def launch(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Id, beginning of the id, or name.", show_default=False)],
    trial: Annotated[int, typer.Argument(metavar="TRIAL", help="Its number within the study.", show_default=False)],
    engine: Annotated[str, typer.Option("--engine", metavar="NAME", help="vllm, sglang or torch.", show_default=False)],
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write NAME.sh here instead of printing it.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; with --out, compare with what lies there.")] = False,
    model: Annotated[str | None, typer.Option("--model", metavar="PATH", help="Weights, instead of the model's name.")] = None,
    port: Annotated[int, typer.Option("--port", help="Port to listen on.", min=1, max=65535)] = 8000,
    db: Annotated[str, typer.Option("--db", metavar="URL", envvar="TRIMTAB_DB", help="Where studies are stored.")] = DEFAULT_DB,
) -> None:
    """Write the command that serves a trial on an engine, and what to expect of it."""
    from search import launch as launches
    from search import stored

    if engine not in launches.engines():
        raise unknown_name("--engine", engine, launches.engines())
    with stored.existing(db) as store:
        text = launches.script(store, study, trial, engine, model, port)
    if out is None:
        print(f"{engine} can be told all of trial {trial}" if check else text, end="\n" if check else "")
    elif check:
        print(f"{launches.check(text, out, engine)} is as it would be written")
    else:
        print(launches.write(text, out, engine))
