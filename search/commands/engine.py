"""`trimtab engine`: the serving engine of our own, in torch, which runs the schedulers that are simulated."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from search.commands.usage import Commands
from search.output import check_target, print_json
from simulator.errors import InputError

app = typer.Typer(cls=Commands, rich_markup_mode=None, help="Serve a model with the scheduler that is simulated.")


@app.callback(invoke_without_command=True)
def _engine(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def serve(
    model_path: Annotated[Path | None, typer.Option("--model-path", metavar="DIR", help="A Hugging Face checkpoint.")] = None,
    random: Annotated[
        str | None, typer.Option("--random", metavar="CONFIG", help="Random weights: a config.json, or a model of the catalog.")
    ] = None,
    name: Annotated[str | None, typer.Option("--served-model-name", metavar="NAME", help="What clients call the model.")] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen on; 0 is a free one.")] = 8000,
    steps: Annotated[Path | None, typer.Option("--steps", metavar="OUT.csv", help="Write every step at the end.")] = None,
    knobs: Annotated[
        list[str] | None, typer.Option("--set", metavar="KNOB=VALUE", help="A knob of the engine, e.g. max_num_seqs=32.")
    ] = None,
) -> None:
    """Serve a model over OpenAI's completions API."""
    if (model_path is None) == (random is None):
        raise InputError("--model-path and --random", "both" if model_path else "neither", "one of them")
    if steps is not None:
        check_target(steps, "--steps")
    try:
        from profiler.engine import serving
    except ModuleNotFoundError as error:
        raise InputError("trimtab engine", f"no {error.name}", "an installation with it: pip install 'trimtab[engine]'") from None
    from search.assigned import assigned

    serving.serve(
        serving.Choice(model_path, random, name, assigned(knobs or []), host, port, steps),
        ready=lambda address, told: print(f"{address} serves {told}", file=sys.stderr, flush=True),
    )


@app.command()
def check(
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="What this machine's device is in the catalog.")],
    only: Annotated[str, typer.Option("--only", metavar="WORDS", help="Only checks with these words in their names.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Check on this machine's device, with small random models, that the engine computes what it should."""
    from simulator import catalog
    from simulator.errors import Infeasible

    sheet = catalog.device(device, "--device")
    try:
        from profiler.engine.checking import checks
        from profiler.machine import Machine
    except ModuleNotFoundError as error:
        raise InputError("trimtab engine", f"no {error.name}", "an installation with it: pip install 'trimtab[engine]'") from None
    machine, found = Machine.of(sheet, device), []
    for each in checks(machine.kind, only):
        found.append(each)
        print(f"{each.state}: {each.name}, {each.told}", file=sys.stderr if as_json else sys.stdout, flush=True)
    if not found:
        raise InputError("--only", only, "words of a check's name, such as logits, tokens, graphs, determinism")
    if as_json:
        items = [{"name": each.name, "state": each.state, "told": each.told} for each in found]
        print_json({"device": device, **machine.about(), "items": items})
    failed = [each.name for each in found if each.state == "failed"]
    if failed:
        raise Infeasible(f"{len(failed)} of {len(found)} checks failed: {', '.join(failed)}")
