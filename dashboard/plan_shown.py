"""What the page of a plan shows: the cheapest fleet, its week, every way to rent, what was simulated, what a budget buys."""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component

from dashboard.figures import fleet_week
from dashboard.parts import Content, chart, section, table, tiles
from dashboard.report.answer import Tile
from dashboard.report.tables import Cell
from dashboard.words import count, number, usd
from search.plan import Plan, told
from search.plan.document import Candidate, Option

MOST_ROWS = 12


def shown(plan: Plan) -> list[Content]:
    """Returns a plan's sections, the answer first."""
    sentences = list(told.heading(plan))
    if plan.best is None:
        refused = [f"{each.deployment.name}: {each.reason}" for each in plan.candidates if each.reason]
        return [section("No plan", *(html.P(each) for each in [*sentences, *refused]), name="answer")]
    candidate = plan.candidates[plan.best.candidate]
    option = candidate.options[plan.best.option]
    return [
        html.Section(
            [
                html.P(f"{candidate.deployment.name}, {told.NAMES[option.name]}", className="sentence"),
                tiles(_tiles(plan, candidate, option)),
                *(html.P(each, className="caption") for each in [*sentences, *told.best_of(plan, candidate, option)]),
            ],
            className="answer",
        ),
        _week(plan, candidate, option),
        _ways(plan),
        _checked(plan, candidate),
        _bought(plan),
        _notes(plan),
    ]


def _tiles(plan: Plan, candidate: Candidate, option: Option) -> list[Tile]:
    best = plan.best
    saved = "" if best is None or not best.saved_share else f"{best.saved_share:.0%} less than a static fleet at peak, on demand"
    low, high = min(option.replicas_by_hour), max(option.replicas_by_hour)
    return [
        Tile("A month", usd(option.usd_per_month), saved or f"{usd(option.usd_per_week)} a week"),
        Tile("Replicas", f"{low:,} to {high:,}" if low != high else f"{high:,}", f"{count(option.peak_gpus, 'GPU')} at peak"),
        Tile(
            "Busiest hour (requests/s)",
            number(plan.demand.peak_rps),
            f"{plan.demand.busiest}; {number(candidate.capacity_per_replica_rps)} a replica",
        ),
        Tile("A million requests", usd(option.usd_per_million_requests), f"{option.gpu_hours_per_week:,.0f} GPU-hours a week"),
    ]


def _week(plan: Plan, candidate: Candidate, option: Option) -> Component:
    fleets = [(told.NAMES[each.name], each.replicas_by_hour) for each in _distinct(candidate, option)]
    rate = candidate.capacity_per_replica_rps or 0.0
    holds = [rate * replicas for replicas in option.replicas_by_hour]
    drawing = fleet_week.figure(plan.demand.rate_rps, plan.demand.labels, fleets, holds)
    return section(
        "The week",
        chart("plan-week", drawing, "Demand and replicas by hour of the week"),
        caption="Demand by hour above, with what the cheapest fleet holds; replicas below. Hours are UTC.",
    )


def _distinct(candidate: Candidate, first: Option) -> list[Option]:
    """Returns the cheapest option of each course of replicas, the chosen one first."""
    found = {first.replicas_by_hour: first}
    for each in candidate.options:
        found.setdefault(each.replicas_by_hour, each)
    return list(found.values())


def _ways(plan: Plan) -> Component:
    rows = sorted(((each, way) for each in plan.candidates for way in each.options), key=lambda row: row[1].usd_per_week)
    columns = ["Deployment", "Rent", "Instance", "Replicas", "GPUs", "$ a week", "$ a month", "Of static"]
    body: list[list[Content]] = [
        [
            each.deployment.name,
            told.NAMES[way.name],
            f"{way.provider} {way.instance}",
            told.span(way.replicas_by_hour),
            told.span(way.gpus_by_hour),
            usd(way.usd_per_week),
            usd(way.usd_per_month),
            "" if way.share_of_static is None else f"{way.share_of_static:.0%}",
        ]
        for each, way in rows[:MOST_ROWS]
    ]
    left = f"{len(rows) - MOST_ROWS} dearer ways are left out." if len(rows) > MOST_ROWS else None
    cells = [Cell(name) for name in columns]
    return section("Ways to rent", table(cells, body, "Ways to rent", numbers=(3, 4, 5, 6, 7)), caption=left)


def _checked(plan: Plan, candidate: Candidate) -> Component:
    lines = [html.Li(each) for each in [*told.checks(plan, candidate), *candidate.added]]
    return section("Simulated", html.Ul(lines, className="notes"), caption="The busiest hours, at their own traffic.")


def _bought(plan: Plan) -> Component | None:
    if plan.budget is None:
        return None
    return section("What the budget buys", html.Ul([html.Li(each) for each in told.bought(plan, plan.budget)], className="notes"))


def _notes(plan: Plan) -> Component | None:
    refused = [f"{each.deployment.name} has no plan: {each.reason}" for each in plan.candidates if each.reason]
    notes = [f"{each.deployment.name}: {note}" for each in plan.candidates for note in each.notes]
    found = [*refused, *notes, *plan.demand.notes, *plan.notes]
    return section("Notes", html.Ul([html.Li(each) for each in found], className="notes")) if found else None
