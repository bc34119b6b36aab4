"""The iterations of an engine over a minute: tokens in each, who runs and waits, and free KV blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from dashboard.figures.theme import LIGHT, blank

PANELS = (
    ("tokens an iteration", (("tokens", "tokens"),)),
    ("requests", (("num_running", "running"), ("num_waiting", "waiting"))),
    ("free KV blocks", (("free_blocks", "free KV blocks"),)),
)


def figure(steps: Mapping[str, Sequence[Any]]) -> go.Figure:
    """Returns three panels over the same seconds, zoomed together; `steps` are columns by iteration, `start_s` ascending."""
    drawing = blank(560)
    line = drawing.layout.yaxis.to_plotly_json()
    color = 0
    for place, (title, columns) in enumerate(PANELS):
        bottom = 1 - (place + 1) * 0.36 + 0.08
        name = f"yaxis{place + 1}" if place else "yaxis"
        axis = {**line, "domain": [max(bottom, 0), bottom + 0.26], "title": {"text": title, "standoff": 8}, "rangemode": "tozero"}
        drawing.update_layout({name: {**axis, "tickformat": "~s"}})
        for column, told in columns:
            drawing.add_scatter(
                x=steps["start_s"],
                y=steps[column],
                mode="lines",
                name=told,
                yaxis=f"y{place + 1}" if place else "y",
                line={"color": LIGHT.marks[color], "width": 1.2, "shape": "hv"},
                hovertemplate=f"{told}: %{{y:,}} at %{{x:.3f}} s<extra></extra>",
            )
            color += 1
    drawing.update_xaxes(title_text="seconds from the beginning of the minute", anchor="y3", ticksuffix="s")
    drawing.update_layout(hovermode="x unified", hoversubplots="axis")
    return drawing
