"""What one knob does to an objective: its spread over all deployments at each setting."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from dashboard.axis import Axis
from dashboard.figures.theme import LIGHT, blank, scale, ticks, ticks_of_scale


def figure(frame: pd.DataFrame, knob: str, title: str, objective: Axis) -> go.Figure:
    """Returns by setting of a knob the mean of an objective, its 10th to 90th percentile, and its best as a diamond."""
    drawing = blank(300)
    grouped = frame.dropna(subset=[objective.name]).groupby(knob, sort=True)[objective.name]
    names = [f"{name:,g}" if isinstance(name, int | float) else str(name) for name in grouped.groups]
    means, low, high = grouped.mean().tolist(), grouped.quantile(0.1).tolist(), grouped.quantile(0.9).tolist()
    best = (grouped.min() if objective.minimize else grouped.max()).tolist()
    drawing.update_xaxes(title_text=title, type="category", showgrid=False)
    drawing.update_yaxes(title_text=objective.brief, **ticks_of_scale(scale([*best, *high])), **ticks(objective.unit))
    between = {
        "type": "data",
        "symmetric": False,
        "array": [top - mean for top, mean in zip(high, means, strict=True)],
        "arrayminus": [mean - bottom for mean, bottom in zip(means, low, strict=True)],
        "color": LIGHT.muted,
        "thickness": 1.5,
    }
    texts = [f"mean {objective.text(value)}" for value in means]
    drawing.add_scatter(
        x=names,
        y=means,
        mode="markers",
        name="mean, 10th to 90th percentile",
        error_y=between,
        marker={"size": 11, "color": LIGHT.marks[0]},
        text=texts,
        hovertemplate="%{x}: %{text}<extra></extra>",
    )
    drawing.add_scatter(
        x=names,
        y=best,
        mode="markers",
        name="best",
        marker={"symbol": "diamond", "size": 10, "color": LIGHT.marks[1]},
        text=[f"best {objective.text(value)}" for value in best],
        hovertemplate="%{x}: %{text}<extra></extra>",
    )
    return drawing
