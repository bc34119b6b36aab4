"""The commands of `trimtab --server URL`: the same answers, asked of a service."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from simulator.errors import Infeasible, InputError
from simulator.scenario import UPLOAD

if TYPE_CHECKING:
    from search.client import Client

_CHOSEN: ContextVar[tuple[str, str | None] | None] = ContextVar("service", default=None)
# The commands that a service answers too.
KNOWN = frozenset({"search", "simulate", "capacity", "studies", "frontier", "export", "catalog", "compare", "plan", "drift"})


def choose(context: typer.Context, server: str | None, api_key: str | None) -> None:
    """Has the commands of this command line ask a service; raises InputError for one that only runs here."""
    command = context.invoked_subcommand
    _CHOSEN.set(None)
    if server is None or command is None:
        return
    if command in KNOWN:
        _CHOSEN.set((server, api_key))
    elif "--server" in sys.argv:
        # Named in the environment, a service is there for the commands that it has.
        raise InputError("--server", command, f"one of {', '.join(sorted(KNOWN))}, which a service answers too")


def service() -> Client | None:
    """Returns the client of the service that this command line names, None where it names none."""
    chosen = _CHOSEN.get()
    if chosen is None:
        return None
    from search.client import Client

    return Client(*chosen)


def search(client: Client, file: Path, trials: int | None, seed: int | None, *, as_json: bool) -> None:
    """Submits a request, shows its progress, and prints its frontier."""
    from search.progress import Progress, Reporter
    from search.request import read

    read(file).override(trials, seed)
    body = outward(client, file)
    if trials is not None:
        body["budget"] = {**(body.get("budget") or {}), "trials": trials}
    if seed is not None:
        body["seed"] = seed
    study = client.submit(body).id
    try:
        with Reporter() as report:
            for event in client.events(study):
                if event.kind == "progress":
                    report(Progress(**{name: event.data[name] for name in PROGRESS}))
                elif event.kind == "note":
                    report(Progress("screen", 0, 0, None, 0.0, None, str(event.data.get("sentence"))))
    except KeyboardInterrupt:
        print(f"interrupted: study {study} goes on at {client.url}, where `trimtab frontier {study}` shows it", file=sys.stderr)
        raise typer.Exit(130) from None
    found = client.study(study)
    frontier(client, study, as_json=as_json)
    if found["state"] != "done":
        reason = (found["summary"] or {}).get("sentence") or f"it is {found['state']}"
        raise Infeasible(f"study {study}: {reason}")


PROGRESS = ("phase", "done", "total", "best", "elapsed_s", "left_s")


def outward(client: Client, file: Path) -> dict[str, Any]:
    """Returns the request or scenario in a file as a service takes it: its trace is uploaded."""
    from simulator.scenario import anchored
    from simulator.spec.base import read_yaml

    body = anchored(read_yaml(file), file.parent)
    workload = body.get("workload")
    trace = workload.get("trace") if isinstance(workload, Mapping) else None
    if isinstance(trace, str) and not trace.startswith(UPLOAD):
        if not Path(trace).is_file():
            raise InputError("workload.trace", trace, "a readable file")
        body["workload"] = {**dict(workload or {}), "trace": client.upload_trace(Path(trace))}
    return body


def plan(client: Client, file: Path, *, as_json: bool) -> None:
    """Prints a plan, its forecast table and its traces taken along."""
    from search.output import console, print_json
    from search.plan import Plan
    from search.plan.request import read
    from search.plan_table import show_plan

    request = read(file)
    body = request.model_dump(mode="json", exclude_unset=True)
    for name, told in (("demand", request.demand), ("workload", request.workload)):
        trace = told.trace if told is not None else None
        if trace is not None and not trace.startswith(UPLOAD):
            if not Path(trace).is_file():
                raise InputError(f"{name}.trace", trace, "a readable file")
            body[name]["trace"] = client.upload_trace(Path(trace))
    document = client.plan(body)
    if as_json:
        print_json(document)
    else:
        show_plan(console(), Plan.parse(document))


def drift(client: Client, study: str, trace: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the report on a trace, which is taken along where it is a file."""
    if not trace.startswith(UPLOAD):
        if not Path(trace).is_file():
            raise InputError("TRACE", trace, "a readable file")
        trace = client.upload_trace(Path(trace))
    given = {name: value for name, value in asked.items() if value is not None}
    return client.drift(study, {"trace": trace, **given})


def simulate(client: Client, file: Path, outputs: Mapping[str, Path | None], *, as_json: bool) -> None:
    """Prints one simulation."""
    from search.output import console, print_json
    from simulator import scenario as scenarios
    from simulator.cli import show_simulation

    wanted = next((option for option, path in outputs.items() if path is not None), None)
    if wanted is not None:
        raise InputError(wanted, str(outputs[wanted]), "no file with --server: a service does not send single requests or steps")
    scenario = scenarios.read(file)
    document = client.simulate(outward(client, file))
    if as_json:
        print_json(document)
    else:
        show_simulation(console(), document, scenario.slo, document["provenance"]["notes"])


def capacity(client: Client, file: Path, *, as_json: bool) -> None:
    """Prints a capacity."""
    from search.capacity_table import show_capacity
    from search.output import console, print_json
    from simulator import scenario as scenarios

    scenario = scenarios.read(file)
    document = client.capacity(outward(client, file))
    if as_json:
        print_json(document)
    else:
        show_capacity(console(), document, scenario.slo)


def studies(client: Client, limit: int, *, as_json: bool) -> None:
    """Prints the newest studies."""
    from search import rebuilt
    from search.output import console, print_json
    from search.table import show_studies

    items: list[dict[str, Any]] = []
    cursor: str | None = None
    while len(items) < limit:
        page = client.studies(limit=min(limit - len(items), 200), cursor=cursor)
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    if as_json:
        print_json({"items": items, "next_cursor": cursor})
    else:
        show_studies(console(), [rebuilt.line(item) for item in items], client.url, more=cursor is not None)


def frontier(client: Client, study: str, *, as_json: bool, every: bool = False) -> None:
    """Prints the frontier of a study."""
    from search import rebuilt
    from search.output import console, print_json
    from search.table import show_study

    if as_json:
        print_json(client.frontier(study))
        return
    row = rebuilt.study(client.study(study))
    trials, points = rebuilt.whole(json.loads(client.export(row.id, "json")))
    show_study(console(), row, points, trials, place=client.url, every=every)


def export(client: Client, study: str, kind: str, file: Path | None) -> None:
    """Writes a study to a file."""
    from search.output import target

    text = client.export(study, kind)
    if file is None:
        sys.stdout.write(text)
        return
    with target(file, "FILE") as out:
        out.write(text)


def catalog(client: Client, kind: str, name: str | None, *, as_json: bool) -> None:
    """Prints what a request may name."""
    from search.output import print_json

    document = client.catalog(kind, name)
    if as_json or name is not None:
        print_json(document)
        return
    width = max((len(item["name"]) for item in document["items"]), default=0)
    for item in document["items"]:
        print(f"{item['name']:{width}}  {item['summary']}" if sys.stdout.isatty() else item["name"])
