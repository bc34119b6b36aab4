"""`trimtab profile run` and `trimtab profile ceilings`: what needs torch, loaded by these commands alone."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.commands.options import Json
from search.output import print_json
from simulator.errors import Infeasible, InputError

if TYPE_CHECKING:
    from profiler.run import Done

NO_TORCH = "torch is not installed here; `pip install 'trimtab[engine]'` brings it"


def register(app: typer.Typer) -> None:
    """Adds the commands to `trimtab profile`."""
    app.command("run", context_settings={"allow_extra_args": True})(run)
    app.command("ceilings")(ceilings)


def run(
    context: typer.Context,
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="The model whose operators are measured.")],
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="What this machine's device is in the catalog.")],
    tensor_parallel_size: Annotated[
        list[int] | None, typer.Option("--tensor-parallel-size", metavar="N [N ...]", help="GPUs that share the model.")
    ] = None,
    dtype: Annotated[str, typer.Option("--dtype", metavar="NAME", help="bfloat16, float16 or float32.")] = "bfloat16",
    budget_s: Annotated[float, typer.Option("--budget-s", metavar="S", help="Seconds after which nothing more is begun.")] = 480.0,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Instead of the user's folder of profiles.")] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="What to call the profile.")] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", metavar="N", help="Tokens of the largest step.")] = 8192,
    max_seqs: Annotated[int, typer.Option("--max-seqs", metavar="N", help="Sequences of the largest step.")] = 256,
    max_len: Annotated[int, typer.Option("--max-len", metavar="N", help="Tokens of the longest sequence.")] = 8192,
    operators: Annotated[str | None, typer.Option("--operators", metavar="A,B", help="Only these kinds.")] = None,
    attention_backend: Annotated[
        str, typer.Option("--attention-backend", metavar="NAME", help="auto, sdpa, or another one that is installed.")
    ] = "auto",
    collectives: Annotated[
        bool, typer.Option("--collectives/--no-collectives", help="Exchanges among as many ranks, GPUs or processes.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Measure a model's operators on this machine; the same command goes on where an earlier run ended."""
    _needs_torch()
    _least({"--budget-s": budget_s, "--max-tokens": max_tokens, "--max-seqs": max_seqs, "--max-len": max_len})
    if name is not None and (name.startswith(".") or Path(name).name != name):
        raise InputError("--name", name, "a file name")

    from profiler.run import Request
    from profiler.run import run as measure
    from profiler.subjects import Limits

    request = Request(
        model=model,
        device=device,
        tensor_parallel_sizes=_sizes(tensor_parallel_size or [1], context.args),
        dtype=dtype,
        budget_s=budget_s,
        out=out,
        name=name,
        limits=Limits(max_tokens, max_seqs, max_len),
        attention_backend=attention_backend,
        operators=tuple(operators.split(",")) if operators else (),
        collectives=collectives,
    )
    done = measure(request)
    if not done.points:
        raise Infeasible(f"nothing was measured in {budget_s:g} s; a longer --budget-s, or shorter --max-tokens and --max-len")
    if as_json:
        print_json({**asdict(done), "path": str(done.path)})
    else:
        _show(done)


def _sizes(first: list[int], more: list[str]) -> tuple[int, ...]:
    """Returns the sizes of `--tensor-parallel-size 1 2`: the option takes the first one, what follows is left over."""
    field = "--tensor-parallel-size"
    for text in more:
        if not text.isdigit():
            raise InputError("ARGUMENT", text, f"nothing but options, and whole numbers after {field}")
    sizes = [*first, *(int(text) for text in more)]
    for size in sizes:
        if size < 1:
            raise InputError(field, size, "whole numbers from 1")
    return tuple(sorted(set(sizes)))


def _least(given: dict[str, float]) -> None:
    for option, value in given.items():
        if value < 1:
            raise InputError(option, value, "a number from 1")


def _show(done: Done) -> None:
    before = f", {done.points_before:,} of them by earlier runs" if done.points_before else ""
    print(f"{done.points:,} points{before} -> {done.path}")
    if not done.finished:
        print("time was up before every grid was fine enough; the same command goes on")
    if done.too_dear:
        print(f"{done.too_dear:,} points would have taken too much of the time and were left out")
    if done.left_out:
        print(f"not measured here, left to other sources: {', '.join(done.left_out)}")
    for figure, seconds in done.overheads.items():
        print(f"{figure}: {seconds * 1e6:.2f} microseconds")


def ceilings(
    device_file: Annotated[
        Path | None, typer.Option("--device-file", metavar="FILE", help="Write a catalog file of this machine's processor.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure the copy bandwidth and the matrix rates of this machine's device."""
    _needs_torch()

    from profiler.ceilings import measured
    from profiler.machine import Machine

    machine = Machine.here()
    if device_file is not None and machine.cuda:
        raise InputError("--device-file", str(device_file), "a machine without a GPU: a GPU's data sheet is in the catalog")
    found = measured(machine)
    if device_file is not None:
        try:
            device_file.parent.mkdir(parents=True, exist_ok=True)
            device_file.write_text(found.device_file(), encoding="utf-8")
        except OSError as error:
            raise InputError("--device-file", str(device_file), f"a file that can be written ({error.strerror})") from None
    if as_json:
        print_json(asdict(found))
        return
    for name, value in found.about.items():
        print(f"{name}: {value}")
    print(f"copy: {found.copy_bytes_per_s / 1e9:.1f} GB/s, read and written counted")
    for dtype, rate in found.flops_per_s.items():
        print(f"matmul {dtype}: {rate / 1e12:.3f} TFLOP/s, with {found.sizes[dtype]} rows and columns")


def _needs_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise Infeasible(NO_TORCH)
