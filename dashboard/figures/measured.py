"""Measured beside simulated: each point a deployment at a load, the diagonal what would be exact."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import plotly.graph_objects as go

from dashboard.figures.theme import LIGHT, blank, colors, scale, ticks


def beside(points: Sequence[tuple[str, float, float, str]], unit: str = "s") -> go.Figure:
    """Returns simulated over measured values; `points` are (device, measured, simulated, what it is)."""
    drawing = blank(380)
    values = [value for _, measured, simulated, _ in points for value in (measured, simulated)]
    low, high = min(values) / 1.2, max(values) * 1.2
    drawing.add_scatter(
        x=[low, high], y=[low, high], mode="lines", name="exact", hoverinfo="skip",
        line={"color": LIGHT.muted, "dash": "dot", "width": 1.5},
    )  # fmt: skip
    palette = colors(device for device, *_ in points)
    for device, color in palette.items():
        own = [each for each in points if each[0] == device]
        drawing.add_scatter(
            x=[each[1] for each in own], y=[each[2] for each in own], customdata=[each[3] for each in own],
            mode="markers", name=device, marker={"color": color, "size": 10, "line": {"width": 1, "color": LIGHT.surface}},
            hovertemplate="%{customdata}<br>measured %{x:.3~s}s, simulated %{y:.3~s}s<extra></extra>",
        )  # fmt: skip
    kind = scale(values)
    drawing.update_xaxes(title_text="measured", type=kind, **ticks(unit))
    drawing.update_yaxes(title_text="simulated", type=kind, **ticks(unit))
    return drawing


def over_time(points: Sequence[tuple[str, datetime, float, str]]) -> go.Figure:
    """Returns relative errors by when they were measured; `points` are (device, when, error, what it is)."""
    drawing = blank(300)
    palette = colors(device for device, *_ in points)
    for device, color in palette.items():
        own = sorted((each for each in points if each[0] == device), key=lambda each: each[1])
        drawing.add_scatter(
            x=[each[1] for each in own], y=[each[2] for each in own], customdata=[each[3] for each in own],
            mode="markers", name=device, marker={"color": color, "size": 9},
            hovertemplate="%{customdata}<br>%{x|%Y-%m-%d %H:%M}: %{y:+.1%}<extra></extra>",
        )  # fmt: skip
    drawing.add_hline(y=0, line={"color": LIGHT.muted, "dash": "dot", "width": 1.5})
    drawing.update_xaxes(title_text="measured on")
    drawing.update_yaxes(title_text="simulated over measured, less 1", tickformat="+.0%")
    return drawing
