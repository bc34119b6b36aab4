"""What people read of a store: the frontier of a study, the list of studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from db.rows import StudyLine, StudyRow, TrialPoint, TrialRow
from search import objectives, sentences
from search.layout import Column, show
from search.space import flat
from simulator import label
from simulator.cli import HOURS_A_MONTH, digits, dollars, seconds, sources_line
from simulator.spec.slo import TERMS

if TYPE_CHECKING:
    from rich.console import Console

ALWAYS = (
    "model",
    "engine",
    "replicas",
    "device",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "data_parallel_size",
    "enable_expert_parallel",
    "scheduler",
    "max_num_batched_tokens",
)
LABELS = {
    "max_num_seqs": "{} seqs",
    "block_size": "block {}",
    "max_model_len": "len {}",
    "gpu_memory_utilization": "mem {}",
    "dtype": "{}",
    "quantization": "weights {}",
    "kv_cache_dtype": "KV {}",
    "router": "{}",
    "scheduling_policy": "{}",
    "cudagraph_mode": "graphs {}",
    "attention_backend": "attention {}",
    "kv_allocator": "{} KV",
    "kv_page_bytes": "pages {:,} B",
    "determinism": "tokens {}",
    "verification_window": "windows of {}",
    "verification_sequences": "{} a pass",
    "deterministic_share": "{} deterministic",
}
TITLES = {"enable_prefix_caching": "prefix cache", "async_scheduling": "async"}
SHORT = 26
LATENCY_COLUMNS = ("ttft_p99_s", "itl_p99_s")
SHOWN_ELSEWHERE = {"usd_per_million_output_tokens", "usd_per_hour", "gpus", "capacity_rps", *TERMS}


# A study


def show_study(
    console: Console,
    study: StudyRow,
    points: Sequence[TrialPoint],
    trials: Sequence[TrialRow],
    *,
    place: str,
    every: bool = False,
) -> None:
    """Prints a study's frontier, one row a deployment or with `every` one an operating point, and what it means.

    `points` is the frontier by rank; `place` is the file or URL that holds the study.
    """
    say = Lines(console)
    say(sentences.heading(study))
    first = study.request["objectives"][0]
    ranked = best_of_each(points, first)
    if points:
        say("")
        rows = points if every else ranked
        show(console, columns(study, rows, trials))
        say("")
        if not every:
            say(_how_many(study, ranked, points))
        say(sentences.trials_line(study, rows))
        slo = study.request["slo"]
        say(sentences.rent_line(ranked[0].trial))
        say(sentences.binding_line(ranked[0], slo))
        say(sentences.runner_up_line(ranked, first))
        say(sources_line(ranked[0].trial.provenance, " of the winner"))
        say(sentences.error_line(ranked[0]))
    say(sentences.state_line(study, trials))
    for line in (*sentences.reason_lines(trials), *sentences.how_lines(study)):
        say(line)
    say(f"stored in {place}")


class Lines:
    """Prints lines whole: a terminal wraps them, and in a file a line stays one."""

    def __init__(self, console: Console) -> None:
        """Takes the console to print on."""
        self._console = console

    def __call__(self, line: str | None) -> None:
        """Prints a line; nothing for None."""
        if line is not None:
            self._console.print(line, soft_wrap=True)


def best_of_each(points: Sequence[TrialPoint], objective: str) -> list[TrialPoint]:
    """Returns the point of each deployment that is best in the objective, in its order; equal ones by rank."""
    sign = 1 if objectives.load(objective).direction == "minimize" else -1

    def cost(found: TrialPoint) -> float:
        value = found.point.objectives.get(objective)
        return float("inf") if value is None else sign * float(value)

    best: dict[int, TrialPoint] = {}
    for found in sorted(points, key=cost):
        best.setdefault(found.trial.id, found)
    return list(best.values())


def _how_many(study: StudyRow, ranked: Sequence[TrialPoint], points: Sequence[TrialPoint]) -> str:
    count = f"{len(ranked)} deployments, each" if len(ranked) > 1 else "1 deployment,"
    deployments = f"{count} at its best point of the frontier in {study.request['objectives'][0]}"
    if len(points) == len(ranked):
        return deployments
    return f"{deployments}; the frontier has {len(points)} operating points: trimtab frontier {study.id} --all"


def columns(study: StudyRow, points: Sequence[TrialPoint], trials: Sequence[TrialRow]) -> list[Column]:
    """Returns the table of operating points: what is deployed, what it carries, costs and takes."""
    knobs = varying(study, trials)
    made = [_rank(points), _deployments(points, knobs)]
    made.append(Column("GPUs", [str(found.point.metrics["gpus"]) for found in points], weight=5))
    if any(found.trial.bill for found in points):
        made.append(_rent(points))
    made += _load(study, points)
    made += _money(study, points)
    made += _latencies(study, points)
    return made + _other_objectives(study, points)


def varying(study: StudyRow, trials: Sequence[TrialRow]) -> list[str]:
    """Returns the knobs that a study tried several values of, beside those that a line always shows."""
    # A knob outside the space may differ too, but then it follows from the others.
    tried = [name for name in flat(study.request["space"]) if name not in ALWAYS]
    return [name for name in tried if len({str(_set(trial.deployment, name)) for trial in trials}) > 1]


def _set(deployment: Mapping[str, Any], name: str) -> Any:
    """Returns what a knob is set to, or an option under its dotted name; None where the scheduler has no such option."""
    knob, _, option = name.partition(".")
    value = deployment.get(knob)
    return (value or {}).get(option) if option else value


def deployment_parts(deployment: Mapping[str, Any], knobs: Sequence[str] = ()) -> list[str]:
    """Returns a deployment in parts, the machines first and then each setting: `1x H100-SXM TP1`, `vllm_v1`, `2048 tok`."""
    # An option is told of the schedulers that have it alone.
    told = [name for name in knobs if "." not in name or _set(deployment, name) is not None]
    return [*label.in_short(deployment), *(_knob(name, _set(deployment, name)) for name in told)]


def _knob(name: str, value: object) -> str:
    if isinstance(value, bool):
        return f"{TITLES.get(name, name)} {'on' if value else 'off'}"
    short = name.partition(".")[2] or name
    if (name, value) == ("quantization", "none"):
        return "weights as published"
    return LABELS[name].format(value) if name in LABELS else f"{short}={value}"


def _rank(points: Sequence[TrialPoint]) -> Column:
    several = sum(found.point.tied for found in points) > 1
    return Column("", [f"{'=' if several and found.point.tied else ''}{n}" for n, found in enumerate(points, 1)])


def _deployments(points: Sequence[TrialPoint], knobs: Sequence[str]) -> Column:
    parts = [deployment_parts(found.trial.deployment, knobs) for found in points]
    short = ["\n".join([machines, *_folded(settings)]) for machines, *settings in parts]
    return Column("deployment", [" ".join(each) for each in parts], justify="left", short=short)


def _folded(settings: Sequence[str]) -> list[str]:
    """Returns the settings in lines of SHORT columns, none of them broken unless it is longer."""
    lines = [""]
    for setting in settings:
        longer = f"{lines[-1]} {setting}".strip()
        if len(longer) <= SHORT or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(setting)
    return lines


def _rent(points: Sequence[TrialPoint]) -> Column:
    bills = [found.trial.bill for found in points]
    pairs = [("-", "") if bill is None else (f"{bill['instances']}x", str(bill["instance"])) for bill in bills]
    whole, short = ([mark.join(pair).strip() for pair in pairs] for mark in (" ", "\n"))
    return Column("rent", whole, weight=4, justify="left", short=short)


def _load(study: StudyRow, points: Sequence[TrialPoint]) -> list[Column]:
    """Returns the capacity with its interval and the load of the point; under a demand all points have that load."""
    if study.request.get("demand"):
        return []
    value = [digits(found.trial.capacity_rps) for found in points]
    interval = [_interval(found.trial) for found in points]
    return [
        Column("capacity\nreq/s", [f"{v} {i}".strip() for v, i in zip(value, interval, strict=True)],
               short=["\n".join(filter(None, pair)) for pair in zip(value, interval, strict=True)]),
        Column("load\nreq/s", [digits(found.point.rate_rps) for found in points]),
    ]  # fmt: skip


def _interval(trial: TrialRow) -> str:
    if trial.capacity_low_rps is None or trial.capacity_high_rps is None:
        return ""
    return f"[{digits(trial.capacity_low_rps)}, {digits(trial.capacity_high_rps)}]"


def _money(study: StudyRow, points: Sequence[TrialPoint]) -> list[Column]:
    hourly = [found.point.metrics["usd_per_hour"] for found in points]
    if all(usd is None for usd in hourly):
        return []
    tokens = [dollars(found.point.metrics["usd_per_million_output_tokens"]) for found in points]
    if not study.request.get("demand") and "usd_per_hour" not in study.request["objectives"]:
        return [Column("$/M out", tokens)]
    monthly = [None if usd is None else usd * HOURS_A_MONTH for usd in hourly]
    return [
        Column("$/hour", [dollars(usd) for usd in hourly]),
        Column("$/month", [dollars(usd) for usd in monthly], weight=1),
        Column("$/M out", tokens, weight=2),
    ]


def _latencies(study: StudyRow, points: Sequence[TrialPoint]) -> list[Column]:
    """Returns the latencies that the study minimizes, those that it bounds after them, at least two in all."""
    asked = [name for name in study.request["objectives"] if name in TERMS]
    bounds = [name for name in study.request["slo"] if name in TERMS]
    names = list(dict.fromkeys([*asked, *bounds, *LATENCY_COLUMNS]))[: max(2, len(asked))]
    return [
        Column(title(name), [seconds(_latency(found, name)) for found in points], weight=0 if name in asked else 3)
        for name in names
    ]


def title(term: str) -> str:
    """Returns the heading of a latency: its name over its statistic."""
    latency, statistic, _ = term.split("_")
    return f"{latency.upper()}\n{statistic}"


def _latency(found: TrialPoint, term: str) -> float | None:
    latency, statistic, _ = term.split("_")
    value: float | None = found.point.metrics[f"{latency}_s"][statistic]
    return value


def _other_objectives(study: StudyRow, points: Sequence[TrialPoint]) -> list[Column]:
    others = [name for name in study.request["objectives"] if name not in SHOWN_ELSEWHERE]
    return [
        Column(name.replace("_per_", "\nper_", 1), [digits(found.point.objectives.get(name)) for found in points])
        for name in others
    ]


# Studies


def show_studies(console: Console, lines: Sequence[StudyLine], place: str, more: bool = False) -> None:
    """Prints studies, newest first, with their trials and the first point of their frontier."""
    say = Lines(console)
    if not lines:
        say(f"no studies in {place}")
        return
    show(
        console,
        [
            Column("study", [line.study.id for line in lines], justify="left"),
            Column("name", [line.study.name for line in lines], justify="left"),
            Column("state", [line.study.state for line in lines], justify="left"),
            Column("seed", [str(line.study.seed) for line in lines], weight=3),
            Column("trials", [f"{sum(line.trials.values()):,}" for line in lines], weight=1),
            Column("begun (UTC)", [f"{line.study.created_at:%Y-%m-%d %H:%M}" for line in lines], weight=4, justify="left"),
            Column("best", [_best(line) for line in lines], weight=2, justify="left"),
        ],
    )
    if more:
        say("there are older ones: --limit shows more")


def _best(line: StudyLine) -> str:
    if line.best is None:
        return "-"
    objective = line.study.request["objectives"][0]
    machines, *_ = deployment_parts(line.best.trial.deployment)
    return f"{machines}, {objective} {digits(line.best.point.objectives.get(objective))}"
