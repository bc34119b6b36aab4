"""What a study's page says beside its frontier: what binds, latency curves, the frontier in numbers, what is ruled out."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dash import html
from dash.development.base_component import Component

from dashboard.advice import advice_of
from dashboard.axis import Axis, axis_of
from dashboard.explored import MOST_MEMBERS, varied
from dashboard.figures import latency_curve
from dashboard.figures.theme import colors
from dashboard.frames import curves_frame
from dashboard.parts import Content, badge, chart, link, section, stacked, table
from dashboard.report.page import axes_of
from dashboard.report.tables import Cell, frontier_table
from dashboard.words import count, in_order, knobs, spoken
from db import queries, sampled
from db.rows import StudyRow, TrialPoint, TrialState
from db.session import Store
from simulator.spec.slo import TERMS

MOST_REASONS, MOST_LINES = 200, 60


@dataclass(frozen=True)
class Found:
    """What the page reads of a study at once: the frontier, the reasons of what has no answer, and the counts by state."""

    study: StudyRow
    points: list[TrialPoint]
    reasons: list[sampled.Reason]
    counts: dict[TrialState, int]

    @property
    def axes(self) -> list[Axis]:
        """The objectives."""
        return axes_of(self.study)

    @property
    def seen(self) -> str:
        """What changes when there is something new to show."""
        return f"{self.study.state} {sorted(self.counts.items())}"


def read(store: Store, study: StudyRow) -> Found:
    """Returns what the page shows of a study, however large it is."""
    points = sampled.frontier(store, study.id, MOST_MEMBERS)
    return Found(study, points, sampled.reasons(store, study.id, MOST_REASONS), queries.trial_counts(store, study.id))


def rest(store: Store, found: Found) -> list[Content]:
    """Returns what stands under the frontier and follows from what is stored now."""
    return [_binding(found), _curves(store, found), _numbers(found), _refused(found)]


def _binding(found: Found) -> Component | None:
    """Returns what holds the deployments of the frontier back, grouped by what binds them, with advice on the best of each."""
    slo = found.study.request.get("slo") or {}
    groups: dict[str, dict[int, TrialPoint]] = {}
    for item in found.points:
        if item.trial.binding:
            groups.setdefault(item.trial.binding, {}).setdefault(item.trial.number, item)
    items = []
    for binding, members in groups.items():
        best = next(iter(members.values()))
        advice = advice_of(best.trial.deployment, best.point.metrics, binding, slo)
        lines = [html.Li([html.Strong(f"{each.case}: "), each.text, html.Small(each.rule)]) for each in advice]
        whose = link(f"trial {best.trial.number}", f"/studies/{found.study.id}/trials/{best.trial.number}")
        told = f" ends {count(len(members), 'deployment')} of the frontier. Of the best, "
        items.append(html.Li([html.Strong(spoken(binding)), told, whose, ":", html.Ul(lines, className="notes")]))
    if not items:
        return None
    return section(
        "What binds", html.Ul(items, className="plain"), caption="Read from the stored runs of each deployment by fixed rules."
    )


def _curves(store: Store, found: Found) -> Component | None:
    """Returns the latency curves of the best deployment of each device on the frontier."""
    study = found.study
    slo = study.request.get("slo") or {}
    bounds = [name for name in slo if name in TERMS]
    if not bounds or not found.points:
        return None
    bound = axis_of(bounds[0], slo)
    best: dict[str, int] = {}
    for item in found.points:
        best.setdefault(str(item.trial.deployment["device"]), item.trial.number)
    trials = [trial for trial in sampled.with_curves(store, study.id, list(best.values())) if len(trial.curve) > 1]
    lines = curves_frame(trials)
    if lines.empty:
        return None
    demand = (study.request.get("demand") or {}).get("rate_rps")
    drawing = latency_curve.figure(lines, bound, colors(lines["device"]), demand)
    return section(
        "Latency against load",
        chart("study-curves", drawing, f"{bound.short} against the arrival rate"),
        caption="The best deployment of each device on the frontier; a band is the interval of its capacity.",
    )


def _numbers(found: Found) -> Component | None:
    study, listed = found.study, frontier_table(found.study, found.points, found.axes)
    if not listed.lines:
        return None
    settings, trials = in_order(varied(study)), {item.trial.number: item.trial.deployment for item in found.points}
    rows: list[list[Content]] = []
    for line in listed.lines[:MOST_LINES]:
        name = html.Div(
            [
                link(html.Strong(line.title), f"/studies/{study.id}/trials/{line.trial}"),
                " ",
                badge("tied", "tie") if line.tied else None,
                html.Small(knobs(trials[line.trial], settings)),
            ]
        )
        rows.append([str(line.place), name, *(html.Div(stacked(cell)) for cell in line.cells)])
    columns = [Cell("#"), Cell("Deployment"), *listed.columns]
    cut = f"The first {MOST_LINES:,} of {len(listed.lines):,}; the download has all." if len(listed.lines) > MOST_LINES else None
    told = table(columns, rows, "The frontier in numbers", range(3, len(columns)))
    return section("The frontier in numbers", told, caption=cut)


def _refused(found: Found) -> Component | None:
    """Returns the reasons of what has no answer, the most frequent first, then combinations that are not legal."""
    kinds: dict[tuple[str, str], list[sampled.Reason]] = {}
    for each in found.reasons:
        kinds.setdefault((each.state, re.sub(r"[\d.,]*\d", "#", each.reason or "")), []).append(each)
    items = []
    for alike in sorted(kinds.values(), key=lambda rows: -sum(each.amount for each in rows)):
        amount = count(sum(each.amount for each in alike), "deployment")
        reason = f"{alike[0].reason or 'no reason was stored'}{', and the like' if len(alike) > 1 else ''}"
        such = link(f"trial {alike[0].example}", f"/studies/{found.study.id}/trials/{alike[0].example}")
        items.append(
            html.Li([badge(alike[0].state), " ", html.Span(reason, className="reason"), html.Small([amount, ", such as ", such])])
        )
    for text, combinations in ((found.study.summary or {}).get("dropped") or {}).items():
        items.append(html.Li([badge("not legal"), " ", str(text), html.Small(count(combinations, "combination"))]))
    if not items:
        return None
    return section("Ruled out", html.Ul(items, className="refusals"), caption="What has no answer, by reason.")
