"""What a capacity planner reads of a plan: what each way to rent costs, the best one day by day, what was simulated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.layout import Column, show
from search.plan import told
from search.table import Lines
from simulator.cli import digits, dollars, share

if TYPE_CHECKING:
    from rich.console import Console

    from search.plan import Plan
    from search.plan.document import Option

DAY_H = 24
BARS = "▁▂▃▄▅▆▇█"


def show_plan(console: Console, plan: Plan) -> None:
    """Prints a plan: demand, options by cost, the best one's week, checks, budget and notes."""
    say = Lines(console)
    for line in told.heading(plan):
        say(line)
    say("")
    show(console, _options(plan))
    say("")
    if plan.best is not None:
        candidate = plan.candidates[plan.best.candidate]
        option = candidate.options[plan.best.option]
        for line in told.best_of(plan, candidate, option):
            say(line)
        say("")
        show(console, _days(plan, option))
        say("")
        for line in told.checks(plan, candidate):
            say(line)
    for candidate in plan.candidates:
        if candidate.reason is not None:
            say(f"{candidate.deployment.name} has no plan: {candidate.reason}")
        for note in candidate.notes:
            say(f"{candidate.deployment.name}: {note}")
    if plan.budget is not None:
        for line in told.bought(plan, plan.budget):
            say(line)
    for note in (*plan.demand.notes, *plan.notes):
        say(f"note: {note}")


def _options(plan: Plan) -> list[Column]:
    rows = [(each, option) for each in plan.candidates for option in each.options]
    rows.sort(key=lambda row: row[1].usd_per_week)
    return [
        Column("deployment", [each.deployment.name for each, _ in rows], justify="left"),
        Column("rent", [told.NAMES[option.name] for _, option in rows], justify="left"),
        Column("instance", [f"{option.provider} {option.instance}" for _, option in rows], 2, "left"),
        Column("replicas", [told.span(option.replicas_by_hour) for _, option in rows]),
        Column("GPUs", [told.span(option.gpus_by_hour) for _, option in rows], 1),
        Column("$/week", [dollars(option.usd_per_week) for _, option in rows]),
        Column("$/month", [dollars(option.usd_per_month) for _, option in rows], 3),
        Column("of static", [share(option.share_of_static) for _, option in rows], 1),
    ]


def _days(plan: Plan, option: Option) -> list[Column]:
    demand, replicas, usd = plan.demand.rate_rps, option.replicas_by_hour, option.usd_by_hour
    days = [slice(start, start + DAY_H) for start in range(0, len(demand), DAY_H)]
    names = [plan.demand.labels[day.start].split(" ")[0] for day in days]
    if len(set(names)) == 1:
        names = [f"day {number}" for number in range(1, len(days) + 1)]
    return [
        Column("day", names, justify="left"),
        Column("demand by hour", [_bars(demand[day], max(demand)) for day in days], 1, "left"),
        Column("peak req/s", [digits(max(demand[day])) for day in days]),
        Column("replicas by hour", [_bars(replicas[day], max(replicas)) for day in days], 1, "left"),
        Column("replicas", [told.span(replicas[day]) for day in days]),
        Column("$", [dollars(sum(usd[day])) for day in days]),
    ]


def _bars(values: Sequence[float], top: float) -> str:
    return "".join(BARS[min(int(value / top * len(BARS)), len(BARS) - 1)] for value in values)
