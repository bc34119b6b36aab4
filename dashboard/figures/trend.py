"""A trend: numbers of one pinned case over the nights, each beside what it was in the first of them, or as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import plotly.graph_objects as go

from dashboard.figures.theme import LIGHT, blank

Line = Sequence[tuple[datetime, float]]
HEIGHT = 240
# What a still trend is drawn in: without it, the last digit of a number would fill the chart.
LEAST_SPAN = 0.02


def changes(lines: Mapping[str, Line], alarms: Sequence[datetime]) -> go.Figure:
    """Returns each number relative to its first night; a ring marks nights in which the case changed."""
    moved = {name: [(at, value / line[0][1] - 1) for at, value in line] for name, line in lines.items() if line and line[0][1]}
    drawing = _drawn(moved, "%{y:+.2%}")
    shares = [share for line in moved.values() for _, share in line] or [0.0]
    low, high = min([*shares, 0.0]), max([*shares, 0.0])
    pad = max((high - low) * 0.15, LEAST_SPAN / 2)
    drawing.update_yaxes(title_text="since the first night", tickformat="+.1~%", range=[low - pad, high + pad])
    first = next(iter(moved.values()), [])
    known = dict(first)
    marked = [at for at in alarms if at in known]
    if marked:
        drawing.add_scatter(
            x=marked,
            y=[known[at] for at in marked],
            mode="markers",
            name="changed",
            marker={"symbol": "circle-open", "size": 16, "color": LIGHT.limit, "line": {"width": 2.5}},
            hoverinfo="skip",
        )
    return drawing


def errors(lines: Mapping[str, Line]) -> go.Figure:
    """Returns relative errors over the nights, from zero on."""
    drawing = _drawn(lines, "%{y:.1%}")
    drawing.update_yaxes(title_text="median error", tickformat=".0%", rangemode="tozero")
    return drawing


def _drawn(lines: Mapping[str, Line], told: str) -> go.Figure:
    drawing = blank(HEIGHT)
    for index, (name, line) in enumerate(lines.items()):
        drawing.add_scatter(
            x=[at for at, _ in line],
            y=[value for _, value in line],
            mode="lines+markers",
            name=name,
            line={"color": LIGHT.marks[index % len(LIGHT.marks)], "width": 2},
            marker={"size": 5},
            hovertemplate=f"{_plain(name)}: {told}, %{{x|%Y-%m-%d %H:%M}} UTC<extra></extra>",
        )
    drawing.update_layout(showlegend=True)
    return drawing


def _plain(text: str) -> str:
    """Returns the text without what a template or markup would read."""
    return text.replace("%{", "% {").replace("<", "&lt;")
