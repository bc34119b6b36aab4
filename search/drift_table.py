"""What people read of a drift report: the verdict, what changed, the deployment then and now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from search.drift import words
from search.layout import Column, show
from search.table import Lines, deployment_parts
from simulator.cli import digits, dollars, seconds

if TYPE_CHECKING:
    from rich.console import Console

    from search.drift.document import Drift, Standing

LATENCIES = ("ttft_s.p50", "ttft_s.p99", "tpot_s.mean", "itl_s.p99", "e2e_s.p99")


def show_drift(console: Console, found: Drift) -> None:
    """Prints a drift report, the verdict in the first line."""
    say = Lines(console)
    stands = found.standing
    say(f"{found.study['name']} ({found.study['id']}), trial {stands.trial}: {stands.verdict}")
    say(f"changed beyond sampling: {', '.join(found.drifted)}" if found.drifted else "traffic: no change beyond sampling")
    say("")
    show(console, _changes(found))
    say("")
    say(f"{' '.join(deployment_parts({**stands.deployment, 'replicas': stands.replicas}))}, {_rent(stands.usd_per_hour)}")
    show(console, _metrics(stands))
    say("")
    for line in words.limits(stands):
        say(line)
    for load in stands.loads:
        if load.needed is not None:
            rent = _rent(load.needed_usd_per_hour)
            say(f"{digits(load.rate_rps)} req/s of the {load.name} take {words.count(load.needed)}, {rent}")
        say(f"run at {digits(load.rate_rps)} req/s with {load.traffic}")
    if found.search is not None:
        again = found.search
        at = "" if again.demand_rps is None else f" for {digits(again.demand_rps)} req/s"
        say(f"searched again as {again.name} ({again.study or 'not stored'}){at}: {again.sentence}")
    for note in (*found.notes, *found.trace["notes"], *stands.notes):
        say(f"note: {note}")


def _rent(usd_per_hour: float | None) -> str:
    return "no prices" if usd_per_hour is None else f"{dollars(usd_per_hour)} an hour"


def _changes(found: Drift) -> list[Column]:
    changes = found.changes
    return [
        Column("traffic", [each.name for each in changes], justify="left"),
        Column("study", [digits(each.study) for each in changes]),
        Column("trace", [words.NONE if each.name.endswith("_distance") else digits(each.trace) for each in changes]),
        Column("change", [words.change(each) for each in changes]),
        Column("by chance", [words.chance(each) for each in changes], 1),
        Column("", ["changed" if each.beyond else "" for each in changes], justify="left"),
    ]


def _metrics(stands: Standing) -> list[Column]:
    sides: list[tuple[str, dict[str, Any]]] = []
    if stands.stored is not None:
        sides.append((f"study, {digits(stands.stored.rate_rps)} req/s", stands.stored.metrics))
    sides += [(f"{load.name}, {digits(load.rate_rps)} req/s", load.metrics) for load in stands.loads]
    names = [name.removesuffix("_s").replace("_s.", "_") + "_s" for name in LATENCIES]
    columns = [Column("", [*names, "USD per million output tokens"], justify="left")]
    for title, metrics in sides:
        told = [seconds((metrics.get(name.split(".")[0]) or {}).get(name.split(".")[1])) for name in LATENCIES]
        columns.append(Column(title, [*told, digits(metrics.get("usd_per_million_output_tokens"))]))
    return columns
