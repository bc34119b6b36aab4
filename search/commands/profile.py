"""`trimtab profile`: installs measured operator times, lists them, and tells how near they are between their points."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.commands import profile_host, profile_run
from search.commands.options import Json
from search.commands.usage import Commands
from search.output import print_json
from simulator.errors import InputError, unknown_name

if TYPE_CHECKING:
    from simulator.imports import Imported

app = typer.Typer(cls=Commands, rich_markup_mode=None, help="Measure, install and check operator times.")
profile_run.register(app)
profile_host.register(app)
NONE = "no profile is installed; `trimtab profile run` measures one, `trimtab profile import` installs one"


@app.callback(invoke_without_command=True)
def _profile(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("import")
def install(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="vllm_kernels, nccl, vidur, csv or own.", show_default=False)],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The tables: a folder or a file.", show_default=False)],
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="What to call the profile.")] = None,
    device: Annotated[str | None, typer.Option("--device", metavar="NAME", help="The device that was measured.")] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="The model that was measured.")] = None,
    as_json: Json = False,
) -> None:
    """Check measured tables and install them as profiles."""
    from simulator import catalog, imports

    if device is not None:
        catalog.device(device, "--device")
    if model is not None:
        catalog.model(model, "--model")
    if name is not None and (name.startswith(".") or Path(name).name != name):
        raise InputError("--name", name, "a file name")
    found = imports.read_profiles(source, path, imports.Choice(name, device, model))
    installed = [(each, imports.install(each)) for each in found]
    if as_json:
        print_json({"items": [_document(each, file) for each, file in installed]})
        return
    for each, file in installed:
        _show(each, file)


def _document(imported: Imported, file: Path) -> dict[str, Any]:
    from dataclasses import asdict

    from simulator.imports import summary

    operators = [asdict(each) for each in summary(imported.tables)]
    return {"name": imported.name, "device": imported.device, "file": str(file), **imported.about, "operators": operators}


def _show(imported: Imported, file: Path) -> None:
    from simulator.imports import FALL, summary

    model = f", {imported.about['model']}" if "model" in imported.about else ""
    print(f"{imported.name}: {imported.device}{model} -> {file}")
    for each in summary(imported.tables):
        averaged = f", {each.repeated:,} repeated measurements averaged" if each.repeated else ""
        falls = f", less time for more work (by over {FALL:.0%}) in {each.falls:,} of {each.steps:,} steps" if each.falls else ""
        print(f"  {each.operator}: {each.points:,} points of {each.shapes:,} shapes{averaged}{falls}")


@app.command("list")
def listed(as_json: Json = False) -> None:
    """List the profiles that are installed, in the order in which they are asked."""
    from simulator.optime import profile

    items = []
    for path in profile.files():
        told = profile.about(path)
        points = sum(int((~table.gaps).sum()) for table in profile.tables_of(path).values())
        about = {name: told[name] for name in profile.ABOUT if name in told}
        items.append({**about, "name": path.stem, "device": told["device"], "points": points, "file": str(path)})
    if as_json:
        print_json({"items": items})
    elif not items:
        print(NONE)
    for item in () if as_json else items:
        model = f"  {item['model']}" if "model" in item else ""
        print(f"{item['device']}  {item['name']}{model}  {item['points']:,} points  {item['file']}")


@app.command("check")
def check(
    name: Annotated[str, typer.Argument(metavar="NAME|PATH", help="An installed profile, or a file.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Leave every inner point out and predict it from its neighbours."""
    from dataclasses import asdict

    from simulator.optime import profile
    from simulator.optime.leave_one_out import by_operator

    installed = profile.files()
    paths = [path for path in installed if path.stem == name] or ([Path(name)] if Path(name).is_file() else [])
    if not paths:
        raise unknown_name("NAME|PATH", name, {path.stem for path in installed})
    items: list[dict[str, Any]] = []
    for path in paths:
        errors = [asdict(each) for each in by_operator(profile.tables_of(path, "NAME|PATH"))]
        items.append({"name": path.stem, "device": profile.about(path, "NAME|PATH").get("device"), "operators": errors})
    if as_json:
        print_json({"items": items})
        return
    for item in items:
        print(f"{item['name']}: {item['device']}, error of inner points left out")
        if not item["operators"]:
            print("  no point has measured ones on both sides")
            continue
        width = max((len(each["operator"]) for each in item["operators"]), default=0)
        print(f"  {'':{width}}   median      p90     bias   points")
        for each in item["operators"]:
            figures = f"{each['median']:8.1%} {each['p90']:8.1%} {each['bias']:+8.1%} {each['points']:8,}"
            print(f"  {each['operator']:{width}} {figures}")
