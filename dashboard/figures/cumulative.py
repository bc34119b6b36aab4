"""Cumulative distributions of a latency: the share of requests within so many seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from dashboard.figures.theme import LIGHT, blank, scale, ticks, ticks_of_scale


def figure(items: Sequence[tuple[str, Mapping[str, Any]]], title: str, limits: Mapping[str, float]) -> go.Figure:
    """Returns lines of (name, `shares` and `seconds`) of one latency; `limits` are the SLO's bounds by statistic."""
    drawing = blank(300)
    values = [value for _, found in items for value in found["seconds"] if value > 0]
    drawing.update_xaxes(title_text=title, **ticks_of_scale(scale(values)), **ticks("s"))
    drawing.update_yaxes(title_text="share within it", range=[0, 1.02], tickformat=".0%")
    for place, (name, found) in enumerate(items):
        drawing.add_scatter(
            x=found["seconds"],
            y=found["shares"],
            mode="lines",
            name=name,
            line={"color": LIGHT.marks[place % len(LIGHT.marks)], "width": 2},
            hovertemplate=f"{name}<br>%{{y:.1%}} within %{{x:.4s}}s<extra></extra>",
        )
    for statistic, limit in limits.items():
        label = {"text": f"SLO {statistic}", "textposition": "start", "textangle": 0, "font": {"color": LIGHT.limit, "size": 12}}
        drawing.add_vline(x=limit, line={"color": LIGHT.limit, "width": 1.5, "dash": "dash"}, label=label)
    drawing.update_layout(showlegend=len(items) > 1)
    return drawing
