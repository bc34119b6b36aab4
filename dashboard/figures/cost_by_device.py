"""Cost by device: what the best deployment of each device costs, the cheapest on top."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from dashboard.axis import Axis
from dashboard.figures.theme import LIGHT, blank, ticks

BAR = 52


def figure(frame: pd.DataFrame, cost: Axis, palette: Mapping[str, str]) -> go.Figure:
    """Returns one bar a device from a frame with one row a device (`frames.best_by_device`); its axis begins at zero."""
    rows = frame.dropna(subset=[cost.name]).sort_values(cost.name, ascending=cost.minimize, kind="stable")
    drawing = blank(90 + BAR * len(rows))
    texts = [f"  <b>{cost.text(value)}</b>  {title}" for value, title in zip(rows[cost.name], rows["title"], strict=True)]
    # A label fits into its bar only where the bar is long; beside it, every label reads from the same side.
    room = 1.9 * float(rows[cost.name].max()) if len(rows) else 1.0
    drawing.add_bar(
        x=rows[cost.name].tolist(),
        y=rows["device"].tolist(),
        orientation="h",
        marker={"color": [palette[device] for device in rows["device"]], "cornerradius": 4, "line": {"width": 0}},
        text=texts,
        textposition="outside",
        textfont={"size": 13, "color": LIGHT.ink},
        customdata=rows["hover"].tolist(),
        hovertemplate="%{customdata}<extra></extra>",
        showlegend=False,
        width=0.62,
    )
    drawing.update_xaxes(title_text=f"{cost.title}, {cost.better}", range=[0, room], showgrid=False, **ticks(cost.unit))
    drawing.update_yaxes(autorange="reversed", type="category", showgrid=False, ticksuffix="  ")
    return drawing
