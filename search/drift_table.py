"""What people read of a drift report: the verdict, what changed, the deployment then and now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from search.layout import Column, show
from search.table import Lines, deployment_parts
from simulator.cli import digits, dollars, seconds

if TYPE_CHECKING:
    from rich.console import Console

    from search.drift.document import Change, Drift, Interval, Standing

LATENCIES = ("ttft_s.p50", "ttft_s.p99", "tpot_s.mean", "itl_s.p99", "e2e_s.p99")
NONE = "-"
# A number of which sampling explains more is not known.
MOST_SHOWN = 10.0


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
    for line in _limits(stands):
        say(line)
    for load in stands.loads:
        if load.needed is not None:
            say(f"{digits(load.rate_rps)} req/s of the {load.name} take {_count(load.needed)}, {_rent(load.needed_usd_per_hour)}")
        say(f"run at {digits(load.rate_rps)} req/s with {load.traffic}")
    if found.search is not None:
        again = found.search
        at = "" if again.demand_rps is None else f" for {digits(again.demand_rps)} req/s"
        say(f"searched again as {again.name} ({again.study or 'not stored'}){at}: {again.sentence}")
    for note in (*found.notes, *found.trace["notes"], *stands.notes):
        say(f"note: {note}")


def _count(replicas: int) -> str:
    return f"{replicas} replica{'s' if replicas > 1 else ''}"


def _rent(usd_per_hour: float | None) -> str:
    return "no prices" if usd_per_hour is None else f"{dollars(usd_per_hour)} an hour"


def _changes(found: Drift) -> list[Column]:
    changes = found.changes
    return [
        Column("traffic", [each.name for each in changes], justify="left"),
        Column("study", [digits(each.study) for each in changes]),
        Column("trace", [NONE if each.name.endswith("_distance") else digits(each.trace) for each in changes]),
        Column("change", [_change(each) for each in changes]),
        Column("by chance", [_chance(each) for each in changes], 1),
        Column("", ["changed" if each.beyond else "" for each in changes], justify="left"),
    ]


def _change(each: Change) -> str:
    if each.change is not None:
        return f"{each.change:+.1%}"
    if each.name.endswith("_distance"):
        return f"{100 * (each.trace or 0.0):.1f} points"
    return NONE if each.study is None or each.trace is None else f"{100 * (each.trace - each.study):+.1f} points"


def _chance(each: Change) -> str:
    if each.by_chance is None:
        return NONE
    if each.change is None:
        return f"{100 * each.by_chance:.1f} points"
    return f"{each.by_chance:.1%}" if each.by_chance < MOST_SHOWN else "anything"


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


def _limits(stands: Standing) -> list[str]:
    told = []
    for when, limit in (("now", stands.limit), ("in the study", stands.stored.limit if stands.stored else None)):
        if limit is None:
            continue
        many = _count(limit.replicas)
        if limit.capacity_rps is None:
            told.append(f"capacity of {many} {when}: none, {limit.reason}")
            continue
        cost = _interval(limit.usd_per_million_output_tokens)
        spent = "" if cost is None else f", {cost} USD per million output tokens at it"
        bound = f", bound by {limit.binding}" if limit.binding else ""
        told.append(f"capacity of {many} {when}: {_interval(limit.capacity_rps)} req/s{bound}{spent}")
    return told


def _interval(interval: Interval | None) -> str | None:
    return None if interval is None else f"{digits(interval.value)} ({digits(interval.low)} to {digits(interval.high)})"
