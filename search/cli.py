"""The `trimtab` command: reads what was typed, calls the service, prints.

Exit status: 0 done; 1 the answer is "no", in one line; 2 wrong input, in one line; 130 interrupted. With `--json` one JSON
document goes to standard output and nothing else; progress goes to standard error.

Whatever is slow to import is imported by the command that needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from search import (
    comparing,
    drifting,
    engines,
    keys,
    launches,
    loading,
    planning,
    profiles,
    remote,
    serve,
    sweeping,
    upkeep,
    validating,
    webhooks,
)
from search.campaigning import command as campaign
from search.output import check_target, console, print_json, target
from search.usage import DEFAULT_DB, Commands, told
from simulator.errors import Infeasible, InputError, TrimtabError, unknown_name

app = typer.Typer(
    cls=Commands,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Finds the cheapest deployment of a language model that serves a workload within its SLO.",
)
app.add_typer(profiles.app, name="profile")
app.add_typer(engines.app, name="engine")
app.add_typer(campaign.app, name="campaign")
app.command()(launches.launch)
app.add_typer(keys.app, name="keys")
app.add_typer(sweeping.app, name="sweep")
app.add_typer(webhooks.app, name="webhooks")
comparing.register(app)
drifting.register(app)
loading.register(app)
planning.register(app)
serve.register(app)
validating.register(app)
upkeep.register(app)
Request = Annotated[Path, typer.Argument(metavar="REQUEST.yaml", help="What to search.", show_default=False)]
ScenarioFile = Annotated[Path, typer.Argument(metavar="SCENARIO.yaml", help="One deployment, one workload.", show_default=False)]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="Id, beginning of the id, or name.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Db = Annotated[str, typer.Option("--db", metavar="URL", envvar="TRIMTAB_DB", help="Where studies are stored: a path or a URL.")]


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status of one command line, sys.argv's by default."""
    try:
        status = _run(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
        return status
    except typer.TyperException as error:
        return _fail(told(error), 2)
    except InputError as error:
        return _fail(error, 2)
    except TrimtabError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        # Whoever read the output has had enough; without this, Python would complain once more at its end.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def entry() -> None:
    """Ends the process with the exit status of its command line: what the installed `trimtab` calls."""
    sys.exit(main())


def _run(argv: list[str]) -> int:
    command = typer.main.get_command(app)
    try:
        with command.make_context("trimtab", argv) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    return 0


def _fail(reason: object, status: int) -> int:
    print(" ".join(str(reason).split()), file=sys.stderr)
    return status


@app.callback(invoke_without_command=True)
def _trimtab(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    server: Annotated[
        str | None, typer.Option("--server", metavar="URL", envvar="TRIMTAB_SERVER", help="Ask the service there.")
    ] = None,
    api_key: Annotated[str | None, typer.Option(envvar="TRIMTAB_API_KEY", hidden=True)] = None,
) -> None:
    if version:
        from importlib.metadata import PackageNotFoundError
        from importlib.metadata import version as installed

        try:
            print(f"trimtab {installed('trimtab')}")
        except PackageNotFoundError:
            print("trimtab, not installed as a package")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
    remote.choose(context, server, api_key)


@app.command()
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
        request = validating.corrected(request, correction, db)

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


@app.command()
def simulate(
    file: ScenarioFile,
    as_json: Json = False,
    requests: Annotated[Path | None, typer.Option("--requests", metavar="OUT.csv", help="Write one row a request.")] = None,
    steps: Annotated[Path | None, typer.Option("--steps", metavar="OUT.csv", help="Write one row an iteration.")] = None,
    timeline: Annotated[Path | None, typer.Option("--timeline", metavar="OUT.json", help="Write a trace for Perfetto.")] = None,
) -> None:
    """Simulate one deployment under one workload."""
    from simulator import scenario as scenarios
    from simulator.cli import show_simulation, writers

    files = {"--requests": requests, "--steps": steps, "--timeline": timeline}
    if (client := remote.service()) is not None:
        with client:
            remote.simulate(client, file, files, as_json=as_json)
        return
    scenario = scenarios.read(file)
    scenario.price_book()
    for option, path in files.items():
        if path is not None:
            check_target(path, option)

    from search import answers

    done = answers.run_simulation(scenario, record_steps=steps is not None or timeline is not None)
    for option, path in files.items():
        if path is not None:
            with target(path, option) as out:
                for note in writers()[option](out, done.outcome, done.traffic):
                    print(note, file=sys.stderr)
    if as_json:
        print_json(done.document)
    else:
        show_simulation(console(), done.document, scenario.slo, done.traffic.notes)


@app.command()
def capacity(file: ScenarioFile, as_json: Json = False) -> None:
    """Find the highest rate within the SLO, with an interval."""
    if (client := remote.service()) is not None:
        with client:
            remote.capacity(client, file, as_json=as_json)
        return
    from simulator import scenario as scenarios

    scenario = scenarios.read(file)
    scenario.price_book()

    from search import answers
    from search.capacity_table import show_capacity

    document = answers.run_capacity(scenario)
    if as_json:
        print_json(document)
    else:
        show_capacity(console(), document, scenario.slo)


@app.command()
def accuracy(
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Measured sets, else TRIMTAB_DATA.")] = None,
    sets: Annotated[str | None, typer.Option("--sets", metavar="A,B", help="Only these sets.")] = None,
    as_json: Json = False,
    write: Annotated[Path | None, typer.Option("--write", metavar="DIR", help="Write pages, JSON and known errors.")] = None,
) -> None:
    """Score the simulator against measured sets."""
    from search import accuracy as scores

    scores.run(data, sets, as_json, write)


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
def catalog(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="devices, models, workloads, prices, ...", show_default=False)],
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One of them, in full.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """List what a request may name."""
    if (client := remote.service()) is not None:
        with client:
            remote.catalog(client, kind, name, as_json=as_json)
        return
    from search import listing

    if as_json:
        print_json(listing.document(kind, name))
    elif name is not None:
        print(listing.describe(kind, name), end="")
    elif sys.stdout.isatty():
        width = max(map(len, listing.names(kind)), default=0)
        for each in listing.names(kind):
            print(f"{each:{width}}  {listing.summary(kind, each)}")
    else:
        print("\n".join(listing.names(kind)))


@app.command()
def warmup() -> None:
    """Compile the simulator now, so that the first run need not."""
    from simulator.cli import warm_up
    from simulator.kernel.jit import cache_folder

    print(f"{warm_up()} kernels are compiled in {cache_folder()}")


if __name__ == "__main__":
    entry()
