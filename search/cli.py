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
from typing import Annotated

import typer

from search.commands import (
    accuracy,
    campaign,
    catalog,
    compare,
    drift,
    engine,
    keys,
    launch,
    load,
    plan,
    profile,
    remote,
    search,
    serve,
    simulate,
    studies,
    sweep,
    upkeep,
    validate,
    webhooks,
)
from search.commands.usage import Commands, told
from simulator.errors import InputError, TrimtabError

app = typer.Typer(
    cls=Commands,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Finds the cheapest deployment of a language model that serves a workload within its SLO.",
)
for group in (profile, engine, campaign, keys, sweep, webhooks):
    app.add_typer(group.app, name=group.__name__.rpartition(".")[2])
for one in (search, simulate, studies, catalog, accuracy, compare, drift, launch, load, plan, serve, validate, upkeep):
    one.register(app)


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


if __name__ == "__main__":
    entry()
