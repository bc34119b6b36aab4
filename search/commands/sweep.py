"""`trimtab sweep`: the nightly suite, and the approval of baselines."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.commands.options import DEFAULT_DB, Json
from search.commands.usage import Commands
from search.output import check_target, console, print_json, target
from simulator.errors import InputError

if TYPE_CHECKING:
    from db.sweep_rows import SweepCaseResult

Db = Annotated[str, typer.Option("--db", metavar="URL", envvar="TRIMTAB_DB", help="Where runs are stored.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Id, beginning of the id, or last.", show_default=False)]
MOST_SHIFT = 2**30


class Sweeps(Commands):
    """A group in which what is no command is the file of a suite."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Returns what is left of the arguments, with `run` before those of a suite."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=Sweeps, rich_markup_mode=None, help="Run a nightly suite: `trimtab sweep SUITE.yaml`.")


@app.callback(invoke_without_command=True)
def _sweep(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def run(
    file: Annotated[Path, typer.Argument(metavar="SUITE.yaml", help="What is pinned.", show_default=False)],
    baseline: Annotated[
        str | None, typer.Option("--baseline", metavar="NAME", help="Compare with this one, else the suite's.")
    ] = None,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="OUT.xml", help="Write JUnit XML.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", metavar="OUT.md", help="Write a summary.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="CASE", help="Only this case; may be repeated.")] = None,
    seed_shift: Annotated[int, typer.Option("--seed-shift", metavar="N", help="Other seeds: all of them N further.")] = 0,
    engines: Annotated[bool, typer.Option("--engines", help="Run engine cases on a CPU too.")] = False,
    executor: Annotated[str, typer.Option("--executor", metavar="NAME", help="threads, inline, ray or auto.")] = "threads",
    as_json: Json = False,
    db: Db = DEFAULT_DB,
) -> None:
    """Run a suite and compare it with its baseline; exit status 1 when predictions changed."""
    from search import executor as executors
    from search.sweep.suite import read
    from simulator.errors import unknown_name

    if not 0 <= seed_shift <= MOST_SHIFT:
        raise InputError("--seed-shift", seed_shift, f"a whole number from 0 to {MOST_SHIFT}")
    if executor not in executors.names():
        raise unknown_name("--executor", executor, executors.names())
    files = {"--junit": junit, "--markdown": markdown}
    for option, path in files.items():
        if path is not None:
            check_target(path, option)
    suite = read(file)

    from db.session import open_store
    from search.delivering import from_environment, send_due
    from search.sweep import junit as xml
    from search.sweep import markdown as pages
    from search.sweep import record
    from search.sweep import run as running

    how = running.How(baseline, seed_shift, engines, frozenset(only) if only else None, executor)
    sending = from_environment()
    with open_store(db) as store:
        row = running.run(store, suite, how, _report)
        document = record.of_run(store, row)
        # Where a suite runs there may be no worker to do it.
        send_due(store, sending)
    for option, path in files.items():
        if path is not None:
            with target(path, option) as out:
                out.write(xml.text(document) if option == "--junit" else pages.text(document))
    if as_json:
        print_json(document)
    else:
        _show(document)
    if document["verdict"] == "changed":
        raise typer.Exit(1)


@app.command()
def approve(
    run: RunName,
    baseline: Annotated[str, typer.Option("--baseline", metavar="NAME", help="The name that the run gets.", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", metavar="WORDS", help="Why it is right.", show_default=False)],
    as_json: Json = False,
    db: Db = DEFAULT_DB,
) -> None:
    """Make a run the baseline of its suite; who, when and why are kept."""
    from db import sweeps
    from search.stored import existing
    from search.sweep.record import approval

    with existing(db) as store:
        row = sweeps.approve(store, run, baseline, reason, getpass.getuser())
    if as_json:
        print_json(approval(row))
    else:
        print(f"{row.run_id} is baseline {row.name} of {row.suite}, approved by {row.approved_by}")


@app.command()
def runs(
    suite: Annotated[str | None, typer.Option("--suite", metavar="NAME", help="Only of this suite.")] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="The most to list, newest first.")] = 30,
    as_json: Json = False,
    db: Db = DEFAULT_DB,
) -> None:
    """List the runs of suites."""
    from db import sweeps
    from search.stored import existing
    from search.sweep.record import line

    if limit < 1:
        raise InputError("--limit", limit, "a whole number from 1")
    with existing(db) as store:
        found = [line(row) for row in sweeps.runs(store, limit, suite=suite)]
    if as_json:
        print_json({"items": found})
        return
    for each in found:
        changed = ", ".join(each["summary"]["changed"])
        print(f"{each['id']}  {each['created_at'][:16]}  {each['suite']}  {each['verdict']}{': ' + changed if changed else ''}")


@app.command()
def show(run: RunName, as_json: Json = False, db: Db = DEFAULT_DB) -> None:
    """Print a stored run."""
    from db import sweeps
    from search.stored import existing
    from search.sweep import record

    with existing(db) as store:
        document = record.of_run(store, sweeps.run(store, run, "RUN"))
    if as_json:
        print_json(document)
    else:
        _show(document)


def _report(name: str, case: SweepCaseResult) -> None:
    state = "not scored" if (case.kind, case.state) == ("accuracy", "failed") else case.state
    print(f"{name}: {state}, {case.seconds:.1f} s", file=sys.stderr, flush=True)


def _show(document: dict[str, Any]) -> None:
    from search.sweep.markdown import VERDICTS, is_new

    out = console()
    against = f"baseline {document['baseline']}" if document["baseline_run"] else f"no baseline {document['baseline']} yet"
    out.print(f"{document['suite']}, run {document['id']}, {against}: {VERDICTS[document['verdict']]}", soft_wrap=True)
    for case in document["predictions"]:
        answer = "changed" if case["findings"] else "new" if is_new(case) else "same"
        answer += f" ({case['state']}: {case['reason']})" if case["state"] != "done" else ""
        out.print(f"  {case['name']} ({case['kind']}): {answer}", soft_wrap=True)
        for finding in case["findings"]:
            out.print(f"    {finding['sentence']}", soft_wrap=True)
        if case["findings"]:
            out.print(f"    why: {case['why']}", soft_wrap=True)
    if document["accuracy"]:
        out.print("accuracy, which fails nothing:", soft_wrap=True)
    for case in document["accuracy"]:
        for name, error in case["errors"].items():
            out.print(f"  {name}: median error {error['value']:.1%} of {error['n']} cases", soft_wrap=True)
        if not case["scored"]:
            out.print(f"  {case['name']}: not scored, {case['reason']}", soft_wrap=True)
    if not document["baseline_run"]:
        out.print(f"`trimtab sweep approve {document['id']} --baseline {document['baseline']} --reason ...` makes it one")
