"""A plan in sentences: what was asked, what is cheapest, what was simulated, and what a budget buys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from simulator.cli import digits, dollars, seconds, share

if TYPE_CHECKING:
    from search.plan.document import Candidate, ForBudget, Option, Plan, Window

NAMES = {
    "static_on_demand": "static, on demand",
    "static_reserved": "static, reserved",
    "static_spot": "static, spot",
    "scheduled_on_demand": "scheduled, on demand",
    "scheduled_mixed": "scheduled, mixed",
}
TERMS = {"on_demand": "on demand", "reserved": "reserved", "spot": "spot"}


def heading(plan: Plan) -> Iterator[str]:
    """Yields what is planned: the model, the Slo, the demand, the rule of the fleet."""
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


def span(numbers: Sequence[int]) -> str:
    """Returns the smallest and the largest of some counts, once where they are one."""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def best_of(plan: Plan, candidate: Candidate, option: Option) -> Iterator[str]:
    """Yields what the best way to rent is, what it saves, and what a replica is given."""
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


def checks(plan: Plan, candidate: Candidate) -> Iterator[str]:
    """Yields what simulating the busy hours of a deployment said."""
    if not candidate.checked:
        yield "nothing was simulated for this plan"
        return
    for window in candidate.checked:
        yield f"simulated {window.label} at {digits(window.rate_rps)} req/s on {window.replicas} replicas: {verdict(window)}"
    for sentence in candidate.added:
        yield f"replicas were added: {sentence}"
    unchecked = sum(1 for each in plan.candidates if each.options and not each.checked)
    if unchecked:
        dearer = "1 dearer deployment was" if unchecked == 1 else f"{unchecked} dearer deployments were"
        yield f"{dearer} not simulated: a check can only make a plan dearer"


def verdict(window: Window) -> str:
    """Returns whether a simulated hour kept its Slo, bound by bound."""
    bounds = [
        f"{each.bound} {'lost' if each.value_s is None else seconds(each.value_s)} of {seconds(each.limit_s)}"
        for each in window.bounds
        if each.limit_s is not None
    ]
    grows = ["the backlog grows"] if any(each.limit_s is None for each in window.bounds) else []
    return f"SLO {'kept' if window.kept else 'missed'} ({', '.join([*bounds, *grows])}; {window.requests:,} requests)"


def bought(plan: Plan, budget: ForBudget) -> Iterator[str]:
    """Yields what a budget buys: demand, and an Slo."""
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
