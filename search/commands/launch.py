"""`trimtab launch`: a trial of a study as something that can be run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from search.commands.options import DEFAULT_DB
from simulator.errors import MISSING, InputError, unknown_name

# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
_WORD = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
LABEL = re.compile(rf"([a-z0-9]([a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_WORD}")
LABEL_VALUE = re.compile(rf"({_WORD})?")


def register(app: typer.Typer) -> None:
    """Adds the command to those of `trimtab`."""
    app.command()(launch)


def launch(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Id, beginning of the id, or name.", show_default=False)],
    trial: Annotated[int, typer.Argument(metavar="TRIAL", help="Its number within the study.", show_default=False)],
    engine: Annotated[str | None, typer.Option("--engine", metavar="NAME", help="vllm, sglang, tensorrt_llm or torch.")] = None,
    load_test: Annotated[
        bool, typer.Option("--load-test", help="Instead of a server, the script that sends it what the trial was scored with.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write the file here instead of printing it.")] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Write nothing; hold it to the engine's options, the platform's schema and what lies in --out.",
        ),
    ] = False,
    model: Annotated[str | None, typer.Option("--model", metavar="PATH", help="Weights, instead of the model's name.")] = None,
    port: Annotated[int, typer.Option("--port", help="Port to listen on; with --load-test, to send to.", min=1, max=65535)] = 8000,
    on: Annotated[
        str | None,
        typer.Option("--on", metavar="NAME", help="All replicas, as YAML: kubernetes, compose, ray_serve, llm_d or dynamo."),
    ] = None,
    image: Annotated[str | None, typer.Option("--image", metavar="NAME", help="With --on: the image that has the engine.")] = None,
    plan: Annotated[
        Path | None, typer.Option("--plan", metavar="FILE.json", help="With --on: replicas by hour as a plan has them.")
    ] = None,
    node_selector: Annotated[
        list[str] | None,
        typer.Option(
            "--node-selector", metavar="LABEL=VALUE", help="With --on: nodes to run on, instead of those with the GPU's label."
        ),
    ] = None,
    prefill: Annotated[
        int | None, typer.Option("--prefill", metavar="TRIAL", help="With --on llm_d or dynamo: who reads the prompts.", min=0)
    ] = None,
    db: Annotated[str, typer.Option("--db", metavar="URL", envvar="TRIMTAB_DB", help="Where studies are stored.")] = DEFAULT_DB,
) -> None:
    """Write what runs a trial on an engine. It says what to expect, and how sure that is."""
    from db import queries
    from search import launch as launches
    from search import loadtest, stored

    if load_test:
        if engine or on or model or image or plan or node_selector or prefill is not None:
            raise InputError("--load-test", "given", "alone or with --out and --check; it is sent to whatever serves the model")
        if check and out is None:
            raise InputError("--out", MISSING, f"with --load-test --check: the folder with the {loadtest.FILE} to compare")
        with stored.existing(db) as store:
            _deliver(loadtest.script(store, study, trial, port), loadtest.FILE, out, check)
        return
    if engine is None:
        raise InputError("--engine", MISSING, ", ".join(launches.engines()))
    if engine not in launches.engines():
        raise unknown_name("--engine", engine, launches.engines())
    if on is None and (image or plan or node_selector or prefill is not None):
        raise InputError("--on", MISSING, f"{', '.join(launches.platforms())}, with --image, --plan, --node-selector or --prefill")
    with stored.existing(db) as store:
        if on is None:
            text = launches.script(store, study, trial, engine, model, port)
        else:
            row = queries.trial(store, queries.study(store, study).id, trial)
            hours, start_up_s = (None, 0.0) if plan is None else by_hour(plan, row.deployment)
            place = launches.On(on, image, _labels(node_selector or []), hours, start_up_s, prefill)
            text = launches.manifest(store, study, trial, engine, place, model, port)
    if check:
        held = launches.held_to(text, engine, on)
        if out is None:
            print(f"{engine} can be told all of trial {trial}")
        else:
            _deliver(text, launches.file_of(engine, on), out, check)
        print("\n".join(line if line.startswith("not ") else f"held to: {line}" for line in held))
    else:
        _deliver(text, launches.file_of(engine, on), out, check)


def _deliver(text: str, name: str, out: Path | None, check: bool) -> None:
    """Prints a text, or writes it to a folder, or compares it with what lies there."""
    from search import launch as launches

    if out is None:
        print(text, end="")
    elif check:
        print(f"{launches.check(text, out, name)} is as it would be written")
    else:
        print(launches.write(text, out, name))


def _labels(given: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for name, equals, value in pairs:
        if not equals or not LABEL.fullmatch(name) or not LABEL_VALUE.fullmatch(value):
            raise InputError("--node-selector", f"{name}{equals}{value}", "LABEL=VALUE as Kubernetes has them, such as pool=gpu")
    return {name: value for name, _, value in pairs}


def by_hour(path: Path, deployment: Mapping[str, Any]) -> tuple[tuple[int, ...], float]:
    """Returns the replicas of each hour of the week that a plan (`trimtab plan --json`) has for a deployment, at least cost,
    and the seconds that one takes to start.

    Raises InputError for a file that is no plan, and for one without this deployment.
    """
    from search.plan.document import Plan

    try:
        found = Plan.parse(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, InputError) as error:
        raise InputError("--plan", str(path), f"a plan as `trimtab plan --json` prints it ({error})") from None
    for candidate in found.candidates:
        same = all(candidate.deployment.deployment.get(name) == value for name, value in deployment.items() if name != "replicas")
        if same and candidate.options:
            scaling = found.request.fleet.scaling
            return tuple(candidate.options[0].replicas_by_hour), 0.0 if scaling is None else scaling.start_up_s
    raise InputError("--plan", str(path), "a plan of this trial's deployment, with a way to rent it")
