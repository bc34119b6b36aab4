"""The charts of the page: each figure as JSON with its title, its caption and its switches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from dashboard.axis import Axis, axis_of
from dashboard.figures import cost_by_device, frontier, latency_curve
from dashboard.figures.theme import colors
from dashboard.frames import DOLLARS, best_by_device, curves_frame, points_frame
from dashboard.report.json_text import json_text
from dashboard.words import spoken
from db.rows import StudyRow, TrialPoint, TrialRow
from simulator.spec.slo import TERMS

_ALWAYS = ("ttft_p99_s", "itl_p99_s")


@dataclass(frozen=True)
class Switch:
    """A switch between a linear and a logarithmic axis, `x` or `y`."""

    axis: str
    label: str
    log: bool


@dataclass(frozen=True)
class Chart:
    """A figure: the id of its element, its title, what a screen reader says of it, its JSON, its height and its switches."""

    id: str
    title: str
    alt: str
    data: Markup
    height: int
    switches: list[Switch] = field(default_factory=list)


@dataclass(frozen=True)
class Charts:
    """The page's charts; None or an empty list where there is nothing to draw."""

    frontier: Chart | None
    frontier_caption: str
    curves: list[Chart]
    cost: Chart | None


def charts_of(study: StudyRow, trials: Sequence[TrialRow], points: Sequence[TrialPoint], axes: Sequence[Axis]) -> Charts:
    """Returns the charts of a study, in all of which a device has one colour."""
    if not points:
        return Charts(None, "", [], None)
    frame = points_frame(points, axes)
    palette = colors(frame["device"])
    cost = next((axis_of(name, {}) for name in DOLLARS if frame[name].notna().any()), None)
    best = best_by_device(frame, axes[0])
    x, y = axes[0], _second(axes, study)
    return Charts(
        frontier=_chart("frontier", "The frontier", f"{x.short} against {y.short}", frontier.figure(frame, x, y, palette), "xy"),
        frontier_caption=_caption(frame, x, y, len(axes)),
        curves=_curves(
            study,
            [trial for number in best["trial"] for trial in trials if trial.number == number and len(trial.curve) > 1],
            palette,
        ),
        cost=_chart(
            "cost", cost.short, f"{cost.short} of each device's best deployment", cost_by_device.figure(best, cost, palette)
        )
        if cost
        else None,
    )


def _second(axes: Sequence[Axis], study: StudyRow) -> Axis:
    """Returns the second objective, or for a study with one the first latency of its SLO."""
    if len(axes) > 1:
        return axes[1]
    slo = study.request.get("slo") or {}
    names = [name for name in [*slo, *_ALWAYS] if name in TERMS and name != axes[0].name]
    return axis_of(names[0], slo)


def _caption(frame: pd.DataFrame, x: Axis, y: Axis, objectives: int) -> str:
    corner = f"{'lower' if y.minimize else 'upper'} {'left' if x.minimize else 'right'}"
    among = f"in all {objectives} objectives at once, of which the chart shows two" if objectives > 2 else "in both"
    parts = [f"Each point is a deployment at a load; the {corner} is best. Nothing beats the solid points {among}."]
    faint = int((~frame["on_frontier"]).sum())
    if faint:
        parts.append("Faint points are beaten by another, or were ruled out on shorter runs.")
    if not frame["within_slo"].all():
        parts.append("Thin crosses are over the SLO.")
    if faint > frontier.MOST_FAINT:
        parts.append(f"Of {faint:,} faint points {frontier.MOST_FAINT:,} are drawn.")
    return " ".join(parts)


def _curves(study: StudyRow, trials: Sequence[TrialRow], palette: Mapping[str, str]) -> list[Chart]:
    frame = curves_frame(trials)
    if frame.empty:
        return []
    slo = study.request.get("slo") or {}
    demand = (study.request.get("demand") or {}).get("rate_rps")
    names = [name for name in dict.fromkeys([*_ALWAYS, *(name for name in slo if name in TERMS)]) if frame[name].notna().any()]
    charts = []
    for name in names:
        drawing = latency_curve.figure(frame, axis_of(name, slo), palette, demand)
        charts.append(_chart(f"curve-{name}", spoken(name), f"{spoken(name)} against the arrival rate", drawing, "y"))
    return charts


def _chart(name: str, title: str, alt: str, drawing: go.Figure, switches: str = "") -> Chart:
    axes = {"x": drawing.layout.xaxis, "y": drawing.layout.yaxis}
    found = [Switch(axis, _switch_label(axis), axes[axis].type == "log") for axis in switches]
    return Chart(name, title, alt, json_text(drawing.to_plotly_json()), int(drawing.layout.height), found)


def _switch_label(axis: str) -> str:
    return "Log scale across" if axis == "x" else "Log scale up"
