"""`trimtab validate`: a study's finalists, or one scenario, on a real engine beside the simulator."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.commands.options import DEFAULT_DB
from search.layout import Column, show
from search.output import check_target, console, print_json
from simulator.errors import InputError, Unmeasured

if TYPE_CHECKING:
    from db.rows import ValidationRow
    from search.request import SearchRequest
    from search.validation import Server

SHOWN = ("ttft_p50_s", "ttft_p99_s", "tpot_mean_s", "tpot_p99_s", "output_token_throughput_tps")


def register(app: typer.Typer) -> None:
    """Adds the command to the console."""
    app.command("validate")(validate)


def corrected(request: SearchRequest, name: str, db: str) -> SearchRequest:
    """Returns the request under the correction that the store has under a name."""
    from search import stored
    from search.validation import correction_of

    with stored.existing(db) as store:
        return request.corrected_by(correction_of(store, name))


def validate(
    what: Annotated[
        str, typer.Argument(metavar="STUDY|SCENARIO.yaml", help="A stored study, or one deployment.", show_default=False)
    ],
    top: Annotated[int, typer.Option("--top", metavar="K", help="Finalists to run, apart beyond their intervals.")] = 3,
    engine: Annotated[str, typer.Option("--engine", metavar="NAME", help="torch, vllm, sglang, or openai with --url.")] = "torch",
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="A server that runs already.")] = None,
    loads: Annotated[str, typer.Option("--loads", metavar="A,B", help="Shares of the claimed capacity.")] = "0.5,0.8,1.0",
    requests: Annotated[int, typer.Option("--requests", metavar="N", help="Requests of each load.")] = 300,
    weights: Annotated[
        str | None, typer.Option("--model-path", metavar="DIR", help="The weights, else by the model's name.")
    ] = None,
    device: Annotated[str | None, typer.Option("--device", metavar="NAME", help="Only deployments on it.")] = None,
    fit: Annotated[str | None, typer.Option("--fit", metavar="NAME", help="Store a correction fitted to the study's runs.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Try faulted runs anew.")] = False,
    logs: Annotated[Path, typer.Option("--logs", metavar="DIR", help="Where the servers' logs go.")] = Path("validation-logs"),
    ready: Annotated[float | None, typer.Option("--ready", metavar="S", help="Seconds a server may take to be ready.")] = None,
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="FILE.json", help="Of a scenario: where loads are kept as they end.")
    ] = None,
    budget_s: Annotated[
        float | None, typer.Option("--budget-s", metavar="S", help="Of a scenario: begin only loads that end in time.")
    ] = None,
    here: Annotated[bool, typer.Option("--here", help="On this machine's own GPUs, without Ray.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
    db: Annotated[str, typer.Option("--db", metavar="URL", envvar="TRIMTAB_DB", help="Where studies are stored.")] = DEFAULT_DB,
) -> None:
    """Run deployments on a real engine beside the simulator. Both get the same arrivals."""
    shares = _shares(loads)
    if top < 1 or requests < 2:
        raise InputError(
            "--top" if top < 1 else "--requests", min(top, requests), "a whole number from 1" if top < 1 else "2 or more"
        )
    if budget_s is not None and budget_s <= 0:
        raise InputError("--budget-s", budget_s, "a number above 0")
    if keep is not None:
        check_target(keep, "--keep")
    from profiler.load import engines
    from search.validation import Server

    if url is not None and engine == "torch":
        engine = "openai"
    engines.engine(engine, "--engine")
    if engine == "openai" and url is None:
        raise InputError("--url", None, "the address of a server that runs, such as http://127.0.0.1:8000")
    server = Server(engine, logs, url, weights, ready, here)
    if Path(what).suffix in (".yaml", ".yml"):
        document = _scenario(Path(what), server, shares, requests, keep, again, budget_s)
    elif keep is not None or budget_s is not None:
        given = "--keep" if keep else "--budget-s"
        raise InputError(given, str(keep or budget_s), "a SCENARIO.yaml; studies keep their runs in the store")
    else:
        document = _study(what, server, shares, requests, db, top, device, again, fit)
    if as_json:
        print_json(document)
    else:
        show_validations(document)
    if document["items"] and all(each["fault"] for each in document["items"]):
        raise Unmeasured(f"nothing could be measured: {document['items'][0]['fault']['reason']}")


def _shares(text: str) -> list[float]:
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if not shares or not all(0 < share <= 2 for share in shares) or len(set(shares)) < len(shares):
        raise InputError("--loads", text, "shares of the capacity, each once, above 0 and up to 2, such as 0.5,0.8,1.0")
    return shares


def _study(
    study: str,
    server: Server,
    shares: Sequence[float],
    requests: int,
    db: str,
    top: int,
    device: str | None,
    again: bool,
    fit: str | None,
) -> dict[str, Any]:
    from search import stored, validation

    with stored.existing(db) as store:
        found = validation.validate_study(
            store, study, server, top=top, loads=shares, requests=requests, device=device, again=again, tell=_tell
        )
        document = validation.document(store, found, server.engine)
        if fit is not None:
            document["correction"] = validation.fit_correction(store, found, fit, server.engine).model_dump(mode="json")
    return document


def _scenario(
    path: Path, server: Server, shares: Sequence[float], requests: int, keep: Path | None, again: bool, budget_s: float | None
) -> dict[str, Any]:
    from search.validate_one import Keep, validate_scenario
    from simulator import scenario

    return validate_scenario(scenario.read(path), server, shares, requests, Keep(keep, again, budget_s))


def _tell(trial: int, row: ValidationRow) -> None:
    errors = row.errors or {}
    said = f"{row.fault_kind}: {row.fault_reason}" if row.fault_kind else ", ".join(_percent(errors, name) for name in SHOWN[:3])
    print(f"trial {trial} at {row.load:g} of its capacity ({row.rate_rps:.4g} requests/s): {said}", file=sys.stderr, flush=True)


def _percent(errors: Mapping[str, float], name: str) -> str:
    return f"{name} {errors[name]:+.1%}" if name in errors else f"{name} unknown"


def show_validations(document: Mapping[str, Any]) -> None:
    """Prints the errors by deployment and load, what went wrong, and how the orders agree."""
    out, items = console(), document["items"]
    good = [each for each in items if not each["fault"]]
    columns = [
        Column("trial", [str(each.get("trial", "")) for each in good]),
        Column("load", [f"{each['load']:.0%}" for each in good]),
        Column("requests/s", [f"{each['rate_rps']:.4g}" for each in good]),
    ]
    columns += [Column(name, [f"{each['errors'][name]:+.1%}" if name in each["errors"] else "" for each in good]) for name in SHOWN]
    if good:
        out.print("error of the simulator: (simulated - measured) / measured")
        show(out, columns)
    for each in items:
        if each["fault"]:
            out.print(
                f"trial {each.get('trial', '')} at {each['load']:.0%}: {each['fault']['kind']}, {each['fault']['reason']}",
                soft_wrap=True,
            )
    for each in document.get("agreement", ()):
        if each["spearman"] is not None:
            line = f"{each['metric']} at {each['load']:.0%}: {each['deployments']} deployments, Spearman {each['spearman']:.2f}, "
            out.print(
                line + f"Kendall {each['kendall']:.2f}, our pick {each['regret']:.1%} worse than the measured best", soft_wrap=True
            )
    fitted = document.get("correction")
    if fitted:
        factors = ", ".join(
            f"{name} x {fitted[name]:.3g} (+-{fitted['spread'][name]:.1%})" for name in ("attention", "rest", "host")
        )
        left = ", ".join(f"{name} {value:.1%}" for name, value in fitted["left_out"].items())
        out.print(f"correction {fitted['name']}: {factors}; error of deployments left out: {left}", soft_wrap=True)
