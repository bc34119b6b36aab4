"""Quantiles of a latency as bars, one colour a deployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from dashboard.figures.theme import LIGHT, blank, scale, ticks, ticks_of_scale
from dashboard.words import seconds

SHOWN = ("p50", "p90", "p95", "p99", "max")


def figure(items: Sequence[tuple[str, Mapping[str, float | None]]], limits: Mapping[str, float]) -> go.Figure:
    """Returns grouped bars of (name, statistics in seconds) of one latency; `limits` are the SLO's by statistic."""
    drawing = blank(300)
    values = [value for _, found in items for name in SHOWN if (value := found.get(name)) is not None]
    drawing.update_xaxes(showgrid=False)
    drawing.update_yaxes(**ticks_of_scale(scale([*values, *limits.values()])), **ticks("s"))
    for place, (name, found) in enumerate(items):
        kept = [(each, value) for each in SHOWN if (value := found.get(each)) is not None]
        drawing.add_bar(
            x=[each for each, _ in kept],
            y=[value for _, value in kept],
            name=name,
            text=[seconds(value) for _, value in kept] if len(items) == 1 else None,
            textposition="outside",
            cliponaxis=False,
            marker={"color": LIGHT.marks[place % len(LIGHT.marks)]},
            hovertemplate=f"{name}<br>%{{x}}: %{{y:.4s}}s<extra></extra>",
        )
    for statistic, limit in limits.items():
        if statistic in SHOWN:
            place = SHOWN.index(statistic)
            line = {"color": LIGHT.limit, "width": 2, "dash": "dash"}
            drawing.add_shape(type="line", x0=place - 0.45, x1=place + 0.45, y0=limit, y1=limit, line=line, name=f"SLO {statistic}")
    drawing.update_layout(showlegend=len(items) > 1, bargap=0.35)
    return drawing
