"""`trimtab campaign`: everything that is measured on a lone GPU, in calls of under nine minutes that go on with one another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from search.campaigning import plan as plans
from search.campaigning import record as records
from search.commands.options import Json
from search.commands.usage import Commands
from search.output import print_json
from simulator import catalog
from simulator.errors import Infeasible, InputError, Unmeasured

app = typer.Typer(cls=Commands, rich_markup_mode=None, help="Measure all there is to measure on one device, in parts.")
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="The campaign's folder, which outlives the machine.")]
PlanFile = Annotated[Path, typer.Option("--plan", metavar="FILE.yaml", help="Another plan than that for a lone GPU.")]
NOT_BEGUN = "a folder in which `trimtab campaign run` has begun"
NO_GPU = "torch sees no GPU here; `--device` may name a device of vendor cpu"
NO_TORCH = "torch is not installed here; `pip install 'trimtab[engine]'` brings it"


@app.callback(invoke_without_command=True)
def _campaign(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def run(
    out: Out,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="What this machine's device is in the catalog.")],
    part: Annotated[str | None, typer.Option("--part", metavar="N|NAME", help="Only this part, else all in order.")] = None,
    budget_s: Annotated[
        float | None, typer.Option("--budget-s", metavar="S", help="Seconds after which nothing is begun, else the plan's.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Try anew what failed.")] = False,
    plan_file: PlanFile = plans.DEFAULT,
    as_json: Json = False,
) -> None:
    """Run what is left of the campaign until time is up; the same command goes on."""
    from search.campaigning.run import LEAST_BUDGET_S, Call

    sheet = catalog.device(device, "--device")
    plan = plans.read(plan_file, device)
    parts = plan.chosen(part)
    seconds = plan.budget_s if budget_s is None else budget_s
    if seconds <= LEAST_BUDGET_S:
        raise InputError("--budget-s", seconds, f"a number above {LEAST_BUDGET_S:g}")
    if sheet.vendor != "cpu":
        _needs_gpu(device)
    out = out.absolute()
    with records.alone(out):
        record = records.opened(out, plan)
        plans.write(plan, plan_file, out)
        record.write()
        ran = Call(record, parts, seconds, again).run()
    if as_json:
        print_json({**_document(record), "call": {"done": ran.done, "failed": ran.failed, "left": ran.left}})
    else:
        _show(_document(record))
    if ran.failed and not (ran.done or ran.left):
        entry = record.entries[ran.failed[0]]
        raise Unmeasured(f"nothing could be done: {ran.failed[0]}: {entry.reason}")


def _needs_gpu(device: str) -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise Infeasible(f"nothing can be measured on {device}: {NO_TORCH}")
    from profiler.machine import is_here

    if not is_here(catalog.device(device, "--device")):
        raise Infeasible(f"nothing can be measured on {device}: {NO_GPU}")


@app.command()
def status(out: Out, as_json: Json = False) -> None:
    """Tell what is done, what failed and what is left of a campaign."""
    told = records.read(out)
    if told is None:
        raise InputError("--out", str(out), NOT_BEGUN)
    document = _document(records.opened(out, plans.read(out / plans.COPY, told["device"])))
    if as_json:
        print_json(document)
    else:
        _show(document)


@app.command()
def summary(out: Out, as_json: Json = False) -> None:
    """Write what came of a campaign, from what its folder holds: summary.json and a page."""
    from search.campaigning.page import page
    from search.campaigning.summary import summarize

    found = summarize(out)
    path = out / f"{found['device'].lower()}.md"
    try:
        records.replace(out / "summary.json", _text(found))
        records.replace(path, page(found))
    except OSError as error:
        raise InputError("--out", str(out), f"a folder that can be written ({error.strerror})") from None
    if as_json:
        print_json(found)
    else:
        print(f"{path} and summary.json: {len(found['validations']['deployments'])} deployments compared")


def _text(document: dict[str, Any]) -> str:
    from search.output import as_json

    return as_json(document) + "\n"


def _document(record: records.Record) -> dict[str, Any]:
    parts = []
    for number, part in enumerate(record.plan.parts, 1):
        items = []
        for item in part.items:
            entry = record.entry(item)
            told = {name: getattr(entry, name) for name in ("state", "calls", "kind", "reason", "faults")}
            items.append({"name": item.name, **told, "spent_s": round(entry.spent_s, 1)})
        parts.append({"number": number, "name": part.name, "what": part.what, "state": record.state_of(part), "items": items})
    return {"campaign": record.plan.name, "device": record.plan.device, "parts": parts}


def _show(document: dict[str, Any]) -> None:
    print(f"{document['campaign']} on {document['device']}")
    for part in document["parts"]:
        over = sum(item["state"] in ("done", "failed") for item in part["items"])
        print(f"{part['number']:3} {part['name']:18} {part['state']:8} {over} of {len(part['items'])}  {part['what']}")
        for item in part["items"]:
            if item["state"] not in ("waiting", "done") or item["faults"]:
                why = item["reason"] or (f"{item['faults']} runs with faults" if item["faults"] else "the same command goes on")
                print(f"      {item['name']}: {item['state']}, {why}")
