"""What a drift report says in words, on a terminal as on a page."""

from __future__ import annotations

from search.drift.document import Change, Interval, Standing
from simulator.cli import digits

NONE = "-"
# A number of which sampling explains more is not known.
MOST_SHOWN = 10.0


def change(each: Change) -> str:
    """Returns by how much a number changed: a share, or points of 100 requests."""
    if each.change is not None:
        return f"{each.change:+.1%}"
    if each.name.endswith("_distance"):
        return f"{100 * (each.trace or 0.0):.1f} points"
    return NONE if each.study is None or each.trace is None else f"{100 * (each.trace - each.study):+.1f} points"


def chance(each: Change) -> str:
    """Returns how much of a change sampling alone explains."""
    if each.by_chance is None:
        return NONE
    if each.change is None:
        return f"{100 * each.by_chance:.1f} points"
    return f"{each.by_chance:.1%}" if each.by_chance < MOST_SHOWN else "anything"


def limits(stands: Standing) -> list[str]:
    """Returns a line for the capacity now, and one for that of the study."""
    told = []
    for when, limit in (("now", stands.limit), ("in the study", stands.stored.limit if stands.stored else None)):
        if limit is None:
            continue
        many = count(limit.replicas)
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


def count(replicas: int) -> str:
    """Returns `1 replica`, `2 replicas`."""
    return f"{replicas} replica{'s' if replicas > 1 else ''}"
