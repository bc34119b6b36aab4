"""`trimtab drift`: a newer trace beside a stored study, and whether the study's answer still stands."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.commands import remote
from search.commands.options import DEFAULT_DB
from search.output import console, print_json
from simulator.errors import InputError, unknown_name

if TYPE_CHECKING:
    from search.drift.document import Again, Drift
    from search.drift.report import Subject


def register(app: typer.Typer) -> None:
    """Adds the command to those of `trimtab`."""
    app.command("drift")(drift)


def drift(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Id, beginning of the id, or name.", show_default=False)],
    trace: Annotated[
        str, typer.Argument(metavar="TRACE", help="A newer trace of any known format, or sha256:... of one.", show_default=False)
    ],
    trial: Annotated[int | None, typer.Option("--trial", metavar="N", help="This trial, instead of the winner.")] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="RPS", help="The traffic's rate, where the trace is a part of it.")
    ] = None,
    replicas: Annotated[int | None, typer.Option("--replicas", metavar="N", help="How many run, if not the study's.")] = None,
    tolerance: Annotated[
        float | None, typer.Option("--tolerance", metavar="SHARE", help="Changes that are no news; 0.03 by default.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of what is drawn and resampled.")] = 0,
    again: Annotated[bool, typer.Option("--search", help="Search the study's request again with the trace.")] = False,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Of the new study; NAME-drift-DATE if not.")] = None,
    executor: Annotated[str, typer.Option("--executor", metavar="NAME", help="auto, threads, ray or inline.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
    db: Annotated[
        str, typer.Option("--db", metavar="URL", envvar="TRIMTAB_DB", help="Where studies are stored: a path or a URL.")
    ] = DEFAULT_DB,
) -> None:
    """Compare a newer trace with a study's traffic. Exit status 1 when the study's answer no longer stands."""
    _check(rate, replicas, tolerance, seed)
    if name is not None and (not again or not 0 < len(name) <= 200):
        raise InputError("--name", name, "a name of up to 200 characters, beside --search")
    from search import executor as executors

    if executor not in executors.names():
        raise unknown_name("--executor", executor, executors.names())
    asked = {"trial": trial, "rate_rps": rate, "replicas": replicas, "tolerance": tolerance, "seed": seed}
    try:
        if (client := remote.service()) is not None:
            if again:
                raise InputError("--search", "given", "nothing with --server: submit the study's request with the trace to it")
            with client:
                found = _rebuilt(remote.drift(client, study, trace, asked))
        else:
            found = _report(study, trace, asked, db, _Again(name, executor) if again else None)
    except InputError as error:
        raise _as_typed(error) from None
    if as_json:
        print_json(asdict(found))
    else:
        from search.drift_table import show_drift

        show_drift(console(), found)
    sys.stdout.flush()
    if not found.standing.stands:
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Again:
    """How the study's request is searched again: under which name, by which executor."""

    name: str | None
    executor: str


def _rebuilt(document: dict[str, Any]) -> Drift:
    """Returns the report that a service answered with."""
    from pydantic import TypeAdapter

    from search.drift.document import Drift

    return TypeAdapter(Drift).validate_python(document)


def _report(study: str, trace: str, asked: dict[str, Any], db: str, again: _Again | None) -> Drift:
    """Returns the report, with a new search where one is wanted; webhooks are told where the answer fell."""
    from search.delivering import from_environment, send_due
    from search.drift import report, telling
    from search.stored import existing
    from simulator.scenario import UPLOAD

    place = trace if trace.startswith(UPLOAD) else str(Path(trace).expanduser().resolve())
    wanted = report.Asked(place, **{name: value for name, value in asked.items() if value is not None})
    sending = from_environment()
    with existing(db) as store:
        about = report.subject(store, study, wanted)
    found = report.drift(about, wanted)
    if again is not None:
        found = replace(found, search=_searched(about, found, db, again))
    with existing(db) as store:
        if telling.tell(store, asdict(found)):
            send_due(store, sending)
    return found


def _searched(about: Subject, found: Drift, db: str, how: _Again) -> Again:
    from search.drift import again as searching
    from search.driver import Stopped
    from search.progress import Interrupt, Reporter

    name = how.name or searching.default_name(about.study)
    request = searching.request_again(about.request, about.workload, found.trace["rate_rps"], name)
    try:
        with Interrupt() as stop, Reporter() as progress:
            return searching.search_again(request, about.trial, db, how.executor, progress, stop)
    except (Stopped, KeyboardInterrupt):
        print("interrupted: what was searched is kept, and the same command resumes", file=sys.stderr)
        raise typer.Exit(130) from None


def _as_typed(error: InputError) -> InputError:
    """Returns the error under the argument or option that a field of the report is on the command line."""
    field, space, place = error.field.partition(" ")
    typed = {"trace": "TRACE", "study": "STUDY", "rate_rps": "--rate", "trial": "--trial"}
    return InputError(typed.get(field, field) + space + place, error.value, error.allowed)


def _check(rate: float | None, replicas: int | None, tolerance: float | None, seed: int) -> None:
    """Raises InputError for an option that is out of its range."""
    if rate is not None and not (rate > 0 and math.isfinite(rate)):
        raise InputError("--rate", rate, "a positive number of requests a second")
    if replicas is not None and replicas < 1:
        raise InputError("--replicas", replicas, "a whole number from 1")
    if tolerance is not None and not 0 <= tolerance < 1:
        raise InputError("--tolerance", tolerance, "a share from 0 to 1")
    if not 0 <= seed < 2**31:
        raise InputError("--seed", seed, f"a whole number from 0 to {2**31 - 1}")
