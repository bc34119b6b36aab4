"""What a capacity planner reads of a plan: what each way to rent costs, the best one day by day, what was simulated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from search.layout import Column, show
from search.table import Lines
from simulator.cli import digits, dollars, seconds, share

if TYPE_CHECKING:
    from rich.console import Console

    from search.plan import Plan
    from search.plan.document import Candidate, ForBudget, Option, Window

DAY_H = 24
BARS = "▁▂▃▄▅▆▇█"
NAMES = {
    "static_on_demand": "static, on demand",
    "static_reserved": "static, reserved",
    "static_spot": "static, spot",
    "scheduled_on_demand": "scheduled, on demand",
    "scheduled_mixed": "scheduled, mixed",
}
TERMS = {"on_demand": "on demand", "reserved": "reserved", "spot": "spot"}


def show_plan(console: Console, plan: Plan) -> None:
    """Prints a plan: demand, options by cost, the best one's week, checks, budget and notes."""
    say = Lines(console)
    for line in _heading(plan):
        say(line)
    say("")
    show(console, _options(plan))
    say("")
    if plan.best is not None:
        candidate = plan.candidates[plan.best.candidate]
        option = candidate.options[plan.best.option]
        for line in _best(plan, candidate, option):
            say(line)
        say("")
        show(console, _days(plan, option))
        say("")
        for line in _checks(plan, candidate):
            say(line)
    for candidate in plan.candidates:
        if candidate.reason is not None:
            say(f"{candidate.deployment.name} has no plan: {candidate.reason}")
        for note in candidate.notes:
            say(f"{candidate.deployment.name}: {note}")
    if plan.budget is not None:
        for line in _budget(plan, plan.budget):
            say(line)
    for note in (*plan.demand.notes, *plan.notes):
        say(f"note: {note}")


def _heading(plan: Plan) -> Iterator[str]:
    request, demand = plan.request, plan.demand
    bounds = ", ".join(f"{name} <= {limit:g} s" for name, limit in plan.slo.items())
    yield f"{request.name}: {plan.candidates[0].deployment.deployment['model']}, {bounds}, prices {plan.prices}"
    grown = f", grown {demand.growth:.3g} times" if demand.growth != 1 else ""
    sure = f", p{request.demand.percentile:g}" if request.demand.interval or request.demand.percentile != 50 else ""
    yield (
        f"demand: {demand.source}{grown}{sure}: mean {digits(demand.mean_rps)} req/s, "
        f"busiest hour {demand.busiest} with {digits(demand.peak_rps)} (mean over peak {share(demand.mean_over_peak)})"
    )
    fleet = request.fleet
    lost = {"nothing": "", "replica": ", after the loss of a replica", "instance": ", after the loss of an instance"}
    rule = lost.get(fleet.survives, f", after the loss of one of {fleet.zones} zones")
    yield f"every hour holds its demand and {share(fleet.headroom)} more{rule}"


def _options(plan: Plan) -> list[Column]:
    rows = [(each, option) for each in plan.candidates for option in each.options]
    rows.sort(key=lambda row: row[1].usd_per_week)
    return [
        Column("deployment", [each.deployment.name for each, _ in rows], justify="left"),
        Column("rent", [NAMES[option.name] for _, option in rows], justify="left"),
        Column("instance", [f"{option.provider} {option.instance}" for _, option in rows], 2, "left"),
        Column("replicas", [_span(option.replicas_by_hour) for _, option in rows]),
        Column("GPUs", [_span(option.gpus_by_hour) for _, option in rows], 1),
        Column("$/week", [dollars(option.usd_per_week) for _, option in rows]),
        Column("$/month", [dollars(option.usd_per_month) for _, option in rows], 3),
        Column("of static", [share(option.share_of_static) for _, option in rows], 1),
    ]


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def _best(plan: Plan, candidate: Candidate, option: Option) -> Iterator[str]:
    kinds = ", ".join(f"{count:,} {TERMS[term]}" for term, count in option.units.items())
    yield (
        f"cheapest: {candidate.deployment.name}, {NAMES[option.name]}, on {option.provider} {option.instance} "
        f"({kinds}): {dollars(option.usd_per_week)} a week, {dollars(option.usd_per_month)} a month, "
        f"{dollars(option.usd_per_million_requests)} per million requests"
    )
    best = plan.best
    if best is not None and best.saved_usd_per_week:
        saved = f"it saves {dollars(best.saved_usd_per_week)} a week ({share(best.saved_share)})"
        yield f"{saved} against a static fleet at peak, on demand"
    capacity = digits(candidate.capacity_per_replica_rps)
    bound = f", bound by {candidate.binding}" if candidate.binding else ""
    yield f"a replica is given {capacity} req/s at most{bound}; {option.starts_per_week:,} starts a week"


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
        Column("replicas", [_span(replicas[day]) for day in days]),
        Column("$", [dollars(sum(usd[day])) for day in days]),
    ]


def _bars(values: Sequence[float], top: float) -> str:
    return "".join(BARS[min(int(value / top * len(BARS)), len(BARS) - 1)] for value in values)


def _checks(plan: Plan, candidate: Candidate) -> Iterator[str]:
    if not candidate.checked:
        yield "nothing was simulated for this plan"
        return
    for window in candidate.checked:
        yield f"simulated {window.label} at {digits(window.rate_rps)} req/s on {window.replicas} replicas: {_verdict(window)}"
    for sentence in candidate.added:
        yield f"replicas were added: {sentence}"
    unchecked = sum(1 for each in plan.candidates if each.options and not each.checked)
    if unchecked:
        dearer = "1 dearer deployment was" if unchecked == 1 else f"{unchecked} dearer deployments were"
        yield f"{dearer} not simulated: a check can only make a plan dearer"


def _verdict(window: Window) -> str:
    bounds = [
        f"{each.bound} {'lost' if each.value_s is None else seconds(each.value_s)} of {seconds(each.limit_s)}"
        for each in window.bounds
        if each.limit_s is not None
    ]
    grows = ["the backlog grows"] if any(each.limit_s is None for each in window.bounds) else []
    return f"SLO {'kept' if window.kept else 'missed'} ({', '.join([*bounds, *grows])}; {window.requests:,} requests)"


def _budget(plan: Plan, budget: ForBudget) -> Iterator[str]:
    head = f"{dollars(budget.usd_per_month)} a month"
    if budget.demand_factor is None or budget.candidate is None or budget.option_name is None:
        yield f"{head} buy no fleet that serves a trickle of this demand"
    else:
        name = plan.candidates[budget.candidate].deployment.name
        yield (
            f"{head} serve {digits(budget.demand_factor)} times this demand (mean {digits(budget.mean_rps)}, "
            f"peak {digits(budget.peak_rps)} req/s): {name}, {NAMES[budget.option_name]}"
        )
    if budget.slo is not None and budget.slo_factor is not None:
        bounds = ", ".join(f"{name} <= {digits(limit)} s" for name, limit in budget.slo.items())
        at = "at most " if budget.slo_factor <= budget.slo_range[0] else ""
        yield f"{head} pay at this demand for {bounds} ({at}{digits(budget.slo_factor)} times as long as asked)"
    else:
        yield f"{head} do not pay for this demand, even with every bound {budget.slo_range[1]:g} times as long"
