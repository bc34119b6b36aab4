"""`trimtab simulate` and `trimtab capacity`: one deployment under one workload."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from search.commands import remote
from search.commands.options import Json
from search.output import check_target, console, print_json, target

ScenarioFile = Annotated[Path, typer.Argument(metavar="SCENARIO.yaml", help="One deployment, one workload.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Adds the commands to those of `trimtab`."""
    app.command()(simulate)
    app.command()(capacity)


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
