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
            say(f"{digits(load.rate_rps)} req/s of the {load.name} take {load.needed} replicas, {_rent(load.needed_usd_per_hour)}")
        say(f"run at {digits(load.rate_rps)} req/s with {load.traffic}")
    if found.search is not None:
        say(f"searched again as {found.search.name} ({found.search.study}): {found.search.sentence}")
    for note in (*found.notes, *found.trace["notes"], *stands.notes):
        say(f"note: {note}")


def _rent(usd_per_hour: float | None) -> str:
    return "no prices" if usd_per_hour is None else f"{dollars(usd_per_hour)} an hour"


def _changes(found: Drift) -> list[Column]:
    changes = found.changes
    return [
        Column("traffic", [each.name for each in changes], justify="left"),
        Column("study", [digits(each.study) for each in changes]),
        Column("trace", [digits(each.trace) for each in changes]),
        Column("change", [_change(each) for each in changes]),
        Column("by chance", [_chance(each) for each in changes], 1),
        Column("", ["changed" if each.beyond else "" for each in changes], justify="left"),
    ]


def _change(each: Change) -> str:
    if each.change is not None:
        return f"{each.change:+.1%}"
    return NONE if each.study is None or each.trace is None else f"{100 * (each.trace - each.study):+.1f} points"


def _chance(each: Change) -> str:
    if each.by_chance is None:
        return NONE
    return f"{100 * each.by_chance:.1f} points" if each.change is None else f"{each.by_chance:.1%}"


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
        many = f"{limit.replicas} replica{'s' if limit.replicas > 1 else ''}"
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
