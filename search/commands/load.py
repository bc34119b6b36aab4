"""`trimtab load`: a workload on a running server, measured by the definitions that simulated runs are measured by."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import Field

from search.output import check_target, console, print_json, target
from simulator.errors import InputError, Unmeasured
from simulator.spec.base import Spec, read_yaml
from simulator.spec.slo import Slo
from simulator.spec.workload import Workload

if TYPE_CHECKING:
    from profiler.load.measured import Measured
    from profiler.load.target import Target

KEY = "OPENAI_API_KEY"
TOLD = {
    "prompt_mismatches": "answers to prompts whose tokens the server counts otherwise",
    "output_mismatches": "answers with other than the wanted number of tokens",
    "uncounted": "answers without a usage count: their tokens are as many as their events",
    "bundled_events": "events with several tokens, whose gaps are not known one by one",
}


class Load(Spec):
    """A workload and the Slo that it is judged by; what else a scenario has tells how the server was started."""

    workload: Workload
    slo: Slo | None = None
    expected: dict[str, dict[str, float]] = Field(default_factory=dict)
    deployment: dict[str, Any] = Field(default_factory=dict)
    prices: str | None = None
    profiles: list[dict[str, Any]] | None = None


def register(app: typer.Typer) -> None:
    """Adds the command to the console."""
    app.command("load")(load)


def load(
    scenario: Annotated[Path, typer.Argument(metavar="SCENARIO.yaml", help="A scenario; its deployment may be left out.")],
    url: Annotated[str, typer.Option("--url", metavar="URL", help="The server, such as http://127.0.0.1:8000.")],
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="What the server calls the model.")] = None,
    api: Annotated[str, typer.Option("--api", help="completions or chat.")] = "completions",
    prompt: Annotated[str | None, typer.Option("--prompt", help="token_ids or text; a chat takes text.")] = None,
    rate: Annotated[float | None, typer.Option("--rate", metavar="RPS", help="Requests a second, instead of the file's.")] = None,
    num_requests: Annotated[
        int | None, typer.Option("--num-requests", metavar="N", help="As many requests, instead of the file's.", min=1)
    ] = None,
    vocabulary: Annotated[
        int | None, typer.Option("--vocabulary", metavar="N", help="Token ids of prompts are below it; the model's, if known.")
    ] = None,
    warmup: Annotated[int, typer.Option("--warmup", metavar="N", help="Requests that are answered first, uncounted.")] = 2,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="S", help="A request is given up when nothing comes for so long.")
    ] = 120.0,
    requests: Annotated[Path | None, typer.Option("--requests", metavar="OUT.csv", help="Write one row a request.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Send a workload to a running server. Each request at its time."""
    asked = _read(scenario)
    if num_requests is not None:
        asked = asked.model_copy(update={"workload": asked.workload.model_copy(update={"num_requests": num_requests})})
    if requests is not None:
        check_target(requests, "--requests")
    to = _target(url, model or asked.deployment.get("model"), api, prompt)
    measured = _measured(asked, to, rate, vocabulary, warmup, timeout)
    document = measured.document(asked.slo)
    if asked.expected:
        document["expected"] = _beside(asked.expected, document["metrics"])
    if not measured.kept:
        raise Unmeasured(_late(document["lag"]))
    if requests is not None:
        _write(requests, measured, asked)
    if as_json:
        print_json(document)
    else:
        _show(document, asked.slo)
        _show_beside(document.get("expected", {}))
    if measured.faults and sum(measured.faults.values()) == document["metrics"]["requests"]:
        raise Unmeasured(f"no request was answered: {next(iter(measured.reasons.values()))}")


def _read(path: Path) -> Load:
    from simulator.scenario import anchored

    return Load.parse(anchored(read_yaml(path), path.parent))


def _target(url: str, model: str | None, api: str, prompt: str | None) -> Target:
    from profiler.load.target import Target

    if not url.startswith(("http://", "https://")):
        raise InputError("--url", url, "an address that begins with http:// or https://")
    if api not in ("completions", "chat"):
        raise InputError("--api", api, "completions or chat")
    prompt = prompt or ("text" if api == "chat" else "token_ids")
    if prompt not in ("token_ids", "text"):
        raise InputError("--prompt", prompt, "token_ids or text")
    if model is None:
        raise InputError("--model", None, "what the server calls the model, since the scenario names none")
    return Target(url.rstrip("/").removesuffix("/v1"), model, api, prompt, os.environ.get(KEY))  # type: ignore[arg-type]


def _measured(asked: Load, to: Target, rate: float | None, vocabulary: int | None, warmup: int, timeout: float) -> Measured:
    from profiler.load import generate
    from simulator.draw import draw, own_rate

    workload = asked.workload
    rate = rate if rate is not None else workload.rate_rps
    if rate is not None and not rate > 0:
        raise InputError("--rate", rate, "more than 0 requests a second")
    if workload.users is None and rate is None and own_rate(workload) is None:
        raise InputError("--rate", None, "requests a second, since the workload has no clock of its own")
    options = generate.Options(
        vocabulary=vocabulary or _vocabulary(asked.deployment),
        block_size=int(asked.deployment.get("block_size") or generate.Options.block_size),
        seed=workload.seed,
        warmup=warmup,
        silence_s=timeout,
    )
    traffic = draw(workload, None, workload.seed)
    try:
        return generate.run(to, traffic, rate, options, _progress)
    except generate.LoadFault as fault:
        raise Unmeasured(f"{to.url} does not answer: {fault}") from None
    finally:
        if sys.stderr.isatty():
            print(file=sys.stderr)


def _vocabulary(deployment: Mapping[str, Any]) -> int:
    from profiler.load.generate import Options
    from simulator import catalog

    name = deployment.get("model")
    return catalog.model(name, "deployment.model").vocab_size if isinstance(name, str) else Options.vocabulary


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty() and done % max(total // 200, 1) == 0:
        print(f"\r{done:,} of {total:,} answered", end="", file=sys.stderr, flush=True)


def _write(path: Path, measured: Measured, asked: Load) -> None:
    from simulator.draw import draw
    from simulator.requests import write_requests

    with target(path, "--requests") as out:
        write_requests(out, measured.outcome, draw(asked.workload, None, asked.workload.seed))


def _show(document: Mapping[str, Any], slo: Slo | None) -> None:
    from simulator.cli import class_lines, digits, seconds, show_latencies, throughput_lines, verdict_lines

    out, metrics, lag, at = console(), document["metrics"], document["lag"], document["target"]
    out.print(f"{at['model']} at {at['url']}, measured over {at['api']}", soft_wrap=True)
    show_latencies(out, metrics)
    lines = [*throughput_lines(metrics), *class_lines(metrics), *verdict_lines(metrics, dict(slo) if slo else {})]
    lines.append(
        f"sent late by {seconds(lag['mean_s'])} on average, p99 {seconds(lag['p99_s'])}, at most {seconds(lag['max_s'])} "
        f"({seconds(lag['allowed_mean_s'])} and {seconds(lag['allowed_p99_s'])} are allowed)"
    )
    for kind, count in document["faults"].items():
        lines.append(f"{count:,} {kind}, the first: {document['reasons'][kind]}")
    for name, what in TOLD.items():
        if document[name]:
            lines.append(f"{digits(document[name])} {what}")
    for line in lines:
        out.print(line, soft_wrap=True)


def _beside(
    expected: Mapping[str, Mapping[str, float]], metrics: Mapping[str, Any]
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Returns each expected latency beside the measured one, and by how much of itself it is off."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for name, statistics in expected.items():
        for statistic, value in statistics.items():
            seen = (metrics.get(name) or {}).get(statistic)
            off = None if not seen else value / seen - 1.0
            found.setdefault(name, {})[statistic] = {"expected_s": value, "measured_s": seen, "relative_error": off}
    return found


def _show_beside(beside: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> None:
    from simulator.cli import seconds

    for name, statistics in beside.items():
        parts = []
        for statistic, each in statistics.items():
            if statistic in ("p50", "p99") and each["expected_s"] is not None:
                off = "not measured" if each["relative_error"] is None else f"{each['relative_error']:+.0%}"
                parts.append(f"{statistic} {seconds(each['expected_s'])} ({off})")
        if parts:
            console().print(f"expected {name.removesuffix('_s').upper()}: {', '.join(parts)}", soft_wrap=True)


def _late(lag: Mapping[str, Any]) -> str:
    from simulator.cli import seconds

    return (
        f"the schedule was not kept, so nothing is claimed: requests were sent {seconds(lag['mean_s'])} late on average and "
        f"{seconds(lag['p99_s'])} at p99, tokens stamped up to {seconds(lag['loop_p99_s'])} late; allowed are "
        f"{seconds(lag['allowed_mean_s'])} and {seconds(lag['allowed_p99_s'])}. Use a faster machine or less load"
    )
