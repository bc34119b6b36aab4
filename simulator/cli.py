"""The simulator's side of the console: one scenario's numbers for people, its requests as a file, compiling ahead of time.

The command itself is declared in `search.cli`, which is the one door; here is what it prints and writes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from simulator import label
from simulator.optime.provenance import KINDS
from simulator.spec.slo import TERMS

if TYPE_CHECKING:
    from rich.console import Console

    from simulator.outcome import Outcome
    from simulator.traffic import Traffic

    Writer = Callable[[TextIO, Outcome, Traffic], tuple[str, ...]]

LATENCIES = {
    "ttft_s": "TTFT",
    "tpot_s": "TPOT",
    "itl_s": "ITL",
    "itl_max_s": "ITL max",
    "e2e_s": "E2E",
    "queue_s": "queue",
}
KEPT = {True: ", SLO met", False: ", SLO missed", None: ""}
STATISTICS = ("mean", "p50", "p90", "p95", "p99", "max")
HOURS_A_MONTH = 730


# Numbers for people


def digits(value: float | None, count: int = 3) -> str:
    """Returns a number with `count` significant digits, all of its whole ones and thousands apart; `-` for None."""
    if value is None:
        return "-"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = float(f"{value:.{count - 1}e}")
    return f"{value:,.{max(count - 1 - math.floor(math.log10(abs(rounded))), 0)}f}"


def seconds(value: float | None) -> str:
    """Returns a latency with its unit, `27.3 ms` or `2.00 s`; `-` for None."""
    if value is None or value == 0:
        return "-" if value is None else "0 s"
    return f"{digits(value)} s" if value >= 0.9995 else f"{digits(1e3 * value)} ms"


def dollars(value: float | None) -> str:
    """Returns an amount of US dollars, to the cent from ten dollars on; `-` for None."""
    if value is None:
        return "-"
    return f"${value:,.2f}" if value >= 10 else f"${digits(value)}"


def share(value: float | None) -> str:
    """Returns a share in percent; `-` for None."""
    return "-" if value is None else f"{digits(100 * value)} %"


# One simulation


def show_simulation(
    console: Console, document: Mapping[str, Any], slo: Mapping[str, float] | None, notes: Sequence[str] = ()
) -> None:
    """Prints the document of `simulate --json`: latencies, throughput, KV, cost, and the verdict on every bound."""
    metrics = document["metrics"]
    console.print(deployment_line(document["deployment"]))
    show_latencies(console, metrics)
    sources = sources_line(document["provenance"])
    lines = (*summary_lines(metrics), *class_lines(metrics), *verdict_lines(metrics, slo or {}))
    for line in (*lines, *([sources] if sources else []), *error_lines(document), *notes):
        console.print(line, soft_wrap=True)


def show_latencies(console: Console, metrics: Mapping[str, Any]) -> None:
    """Prints every latency with its statistics, an empty line before and after."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for name in STATISTICS:
        table.add_column(name, justify="right", no_wrap=True)
    for metric, title in LATENCIES.items():
        table.add_row(title, *(seconds(metrics[metric][name]) for name in STATISTICS))
    console.print()
    console.print(table)
    console.print()


def deployment_line(deployment: Mapping[str, Any]) -> str:
    """Returns model and deployment in one line."""
    parallel = label.parallelism(deployment)
    if deployment["replicas"] * deployment.get("data_parallel_size", 1) > 1:
        parallel += f" behind {deployment['router']}"
    return (
        f"{label.model(deployment)} on {deployment['replicas']}x {deployment['device']} {parallel}, {deployment['engine']}, "
        f"{deployment['scheduler']}, {deployment['max_num_batched_tokens']} tok, {deployment['max_num_seqs']} seqs"
    )


def throughput_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yields how many requests were answered and how fast, and the goodput where there is an Slo."""
    yield (
        f"{metrics['requests']:,} requests in {digits(metrics['duration_s'])} s, {dropped(metrics)}: "
        f"{digits(metrics['request_throughput_rps'])} req/s, {digits(metrics['output_token_throughput_tps'])} output tok/s"
    )
    if metrics["goodput_rps"] is not None:
        yield f"goodput {digits(metrics['goodput_rps'])} req/s"


def summary_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yields throughput, batches, KV and cost, a line each."""
    yield from throughput_lines(metrics)
    yield (
        f"{metrics['iterations']:,} iterations of {digits(metrics['mean_batch_size'])} requests on average, "
        f"{preempted(metrics)}, MFU {share(metrics['mfu'])}"
    )
    yield from stage_lines(metrics)
    cached = metrics.get("cached_token_share")
    found = f"; {share(cached)} of the prompt tokens found in the prefix cache" if cached else ""
    yield f"KV: {metrics['kv_blocks']:,} blocks an engine, {share(metrics['kv_utilization'])} of them in use on average{found}"
    if metrics["usd_per_hour"] is not None:
        yield (
            f"{dollars(metrics['usd_per_hour'])} an hour, {dollars(metrics['usd_per_million_output_tokens'])} per million "
            f"output tokens, {dollars(metrics['usd_per_million_tokens'])} per million tokens"
        )


def dropped(metrics: Mapping[str, Any]) -> str:
    """Returns how many requests were refused, and how many were dropped where there are any."""
    counts = {"rejected": metrics["rejected"], "cancelled by users": metrics.get("cancelled"), "expired": metrics.get("expired")}
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count or what == "rejected")


def preempted(metrics: Mapping[str, Any]) -> str:
    """Returns how often requests were preempted, and how long those waited that were, on average over all."""
    count, waiting_s = metrics["preemptions"], metrics.get("preempted_s")
    if not count or not waiting_s:
        return f"{count:,} preemptions"
    return (
        f"{count:,} preemptions of {metrics['restarted_requests']:,} requests (at most {seconds(waiting_s['max'])} of waiting each)"
    )


def stage_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yields what the stages of a pipeline did; nothing without a pipeline."""
    stages = metrics.get("stages") or ()
    if len(stages) < 2:
        return
    busy = ", ".join(share(stage["busy_share"]) for stage in stages)
    bubble = metrics["bubble_s"]
    idle = f"; bubbles of {seconds(bubble['p50'])} a request (p50), {seconds(bubble['p99'])} (p99)" if bubble else ""
    yield f"stages busy {busy}{idle}"


def class_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yields how the requests of each class fared, where there are several."""
    for name, one in (metrics.get("classes") or {}).items():
        latencies = ", ".join(f"{LATENCIES[key]} p99 {seconds(one[key]['p99'])}" for key in ("ttft_s", "tpot_s", "e2e_s"))
        goodput = "" if one["goodput_rps"] is None else f", goodput {digits(one['goodput_rps'])} req/s"
        yield f"class {name}: {one['requests']:,} requests, {dropped(one)}: {latencies}{goodput}{KEPT[one['slo_met']]}"


def verdict_lines(metrics: Mapping[str, Any], slo: Mapping[str, float]) -> Iterator[str]:
    """Yields every percentile bound beside its value, and whether it holds; bounds of a class have its name before them.

    A request that was rejected or expired counts against a percentile as infinitely slow, so the overall verdict may be worse
    than its parts.
    """
    kept = True
    for name in slo:
        if name.rpartition(".")[2] not in TERMS:
            continue
        limit, value = slo[name], bound_value(metrics, slo, name)
        if value is None:
            continue
        kept = kept and value <= limit
        yield f"SLO {name} <= {limit:g} s: {seconds(value)}, {'met' if value <= limit else 'missed'}"
    lost = {"rejected": metrics["rejected"], "expired": metrics.get("expired") or 0}
    if metrics["slo_met"] is False and kept and any(lost.values()):
        told = " and ".join(f"{count:,} {what}" for what, count in lost.items() if count)
        yield f"SLO missed: the {told} requests count as infinitely slow"


def bound_value(metrics: Mapping[str, Any], slo: Iterable[str], name: str) -> float | None:
    """Returns the statistic that a bound of the Slo is about, in seconds; None where the metrics do not tell it.

    `class.ttft_p99_s` is about one class, and a bound without a class about those that the Slo does not name. Gaps between
    tokens are counted over all classes together.
    """
    of, _, term = name.rpartition(".")
    latency, statistic, _ = term.split("_")
    classes = metrics.get("classes") or {}
    named = {each.rpartition(".")[0] for each in slo}
    about = [each for each in classes if (each == of if of else each not in named)]
    whose = metrics if latency == "itl" or len(about) == len(classes) else classes[about[0]] if len(about) == 1 else None
    return None if whose is None else whose[f"{latency}_s"][statistic]


def sources_line(provenance: Mapping[str, Any], whose: str = "") -> str | None:
    """Returns which operator times were measured and which not, in the order of KINDS; None when that is not known."""
    operators: Mapping[str, Mapping[str, Any]] = provenance.get("operators") or {}
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, origin in operators.items():
        groups[origin["kind"], _source(origin)].append(name)
    parts = [
        f"{kind}{source} {', '.join(sorted(names))}"
        for (kind, source), names in sorted(groups.items(), key=lambda group: (KINDS.index(group[0][0]), group[0][1]))
    ]
    return f"operator times{whose}: {'; '.join(parts)}" if parts else None


def error_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Yields how far the answer may be off; nothing where that was not worked out."""
    text = (document.get("expected_error") or {}).get("text")
    if text:
        yield text


def _source(origin: Mapping[str, Any]) -> str:
    if origin["kind"] == "absent":
        return " and counted as 0 s:"
    source, versions = str(origin["source"]), dict(origin.get("versions") or {})
    own = next((version for name, version in versions.items() if name.startswith(source)), None)
    return f" ({source}) for" if own is None else f" ({source} {own}) for"


# Files


def writers() -> dict[str, Writer]:
    """Returns by option of `simulate` what writes its file and returns notes on what it left out."""
    from simulator.requests import write_requests
    from simulator.steps import write_steps
    from simulator.timeline import write_timeline

    return {"--requests": write_requests, "--steps": write_steps, "--timeline": write_timeline}


def warm_up() -> int:
    """Compiles every kernel that a simulation may need, or finds it compiled; returns how many there are."""
    from simulator import catalog
    from simulator.kernel import driven, loop
    from simulator.kernel.jit import ready

    kernels: list[Callable[..., Any]] = [loop.run, driven.arrive, driven.launch, driven.land, driven.leave]
    kernels += [catalog.module("schedulers", name, "scheduler").schedule for name in catalog.names("schedulers")]
    kernels += [catalog.module("routers", name, "router").route for name in catalog.names("routers")]
    for kernel in kernels:
        ready(kernel)
    return len(kernels)
