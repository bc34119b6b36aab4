"""`trimtab profile host`: what a step of our own engine takes beyond the operators that were measured."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.output import print_json
from simulator.errors import Infeasible, InputError

if TYPE_CHECKING:
    from simulator.kernel.pricelist import PriceList
    from simulator.run import Prepared

ENGINE = "trimtab-0.1"


def register(app: typer.Typer) -> None:
    """Adds the command to `trimtab profile`."""
    app.command("host")(host)


def host(
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="The model, served with random weights.")],
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="What this machine's device is in the catalog.")],
    dtype: Annotated[str, typer.Option("--dtype", metavar="NAME", help="bfloat16, float16 or float32.")] = "bfloat16",
    max_tokens: Annotated[int, typer.Option("--max-tokens", metavar="N", help="Tokens of the largest step.")] = 2048,
    max_seqs: Annotated[int, typer.Option("--max-seqs", metavar="N", help="Sequences of the largest step.")] = 64,
    max_len: Annotated[int, typer.Option("--max-len", metavar="N", help="Tokens of the longest sequence.")] = 2048,
    graphs: Annotated[str, typer.Option("--cudagraph-mode", metavar="MODE", help="NONE or FULL_DECODE_ONLY.")] = "NONE",
    asynchronous: Annotated[bool, typer.Option("--async-scheduling", help="Two steps in flight.")] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Instead of the user's folder of profiles.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Serve the model with our own engine and measure what its steps take beyond the profiled operators."""
    asked: dict[str, Any] = {
        "model": model, "device": device, "engine": ENGINE, "dtype": dtype, "max_num_batched_tokens": max_tokens,
        "max_num_seqs": max_seqs, "max_model_len": max_len, "cudagraph_mode": graphs, "async_scheduling": asynchronous,
        "enable_prefix_caching": False,
    }  # fmt: skip
    path, found = measure(asked, out)
    if as_json:
        print_json({"path": str(path), **found})
        return
    print(f"host step of {found['steps']:,} steps -> {path}")
    for count, seconds in zip(found["sequences"], found["sequences_s"], strict=True):
        print(f"{count} decodes: {seconds * 1e3:.3f} ms")
    for name, what in (
        ("prefill_s", "prompts alone add"),
        ("mixed_s", "prompts beside decodes add"),
        ("left_s", "left unexplained"),
    ):
        print(f"{what}: {found[name] * 1e3:.3f} ms")


def measure(asked: dict[str, Any], out: Path | None = None) -> tuple[Path, dict[str, Any]]:
    """Returns where the host step of a deployment was written, and the document; raises Infeasible when nothing was seen."""
    from deploy.launch import launcher
    from profiler import hosting
    from search.answers import versions
    from simulator import catalog
    from simulator.optime import hoststep
    from simulator.optime.profile import user_folder
    from simulator.resolve import resolve
    from simulator.run import prepare
    from simulator.spec.deployment import Deployment

    deployment = resolve(Deployment.parse(asked, "deployment"))
    prepared, engine = prepare(deployment), catalog.engine(deployment.engine)
    origins = prepared.provenance.operators
    if not any(origin.source == "own" for name, origin in origins.items() if name != "host_step"):
        raise InputError("--model", deployment.model, "a model whose operators `trimtab profile run` has measured on the device")
    with TemporaryDirectory() as folder:
        steps = Path(folder) / "steps.csv"
        render = partial(launcher("torch").arguments, deployment, deployment.model, more=("--steps", str(steps)))
        hosting.run_streams(prepared, render, Path(folder), catalog.model(deployment.model).vocab_size)
        found = hosting.fitted(hosting.steps_of(steps, _without_host(prepared, engine.engine)))
    if found is None:
        raise Infeasible("no steps of decodes alone were seen; more --max-seqs or --max-len")
    ways = {
        name: getattr(deployment, name) for name in ("model", "dtype", "tensor_parallel_size", "cudagraph_mode", "async_scheduling")
    }
    told = hoststep.HostStep(
        engine=engine.engine,
        device=deployment.device,
        versions=versions(),
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        **ways,
        **asdict(found),
    )
    name = f"{deployment.model.split('/')[-1]}-{deployment.dtype}-{deployment.cudagraph_mode.lower()}"
    name += "-async" if deployment.async_scheduling else ""
    path = (out or user_folder()) / deployment.device / f"{name}{hoststep.SUFFIX}"
    hoststep.write(path, told)
    return path, told.model_dump(mode="json")


def _without_host(prepared: Prepared, engine: str) -> PriceList:
    """Returns the prices of operators alone: an earlier host step charges for sequences in the same table."""
    from simulator.optime.hoststep import host_step

    prices, known = prepared.price_list, host_step(prepared.deployment, engine)
    if known is None:
        return prices
    return replace(prices, sample_s=prices.sample_s - known.of_sequences(len(prices.sample_s) - 1))
