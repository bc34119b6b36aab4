"""Parallel coordinates: every deployment a line over its knobs and objectives."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from textwrap import wrap

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.axis import Axis
from dashboard.figures.theme import LIGHT, blank

# Fifths of the deployments, the best first; plain lines, since a browser may have no WebGL.
FIFTHS = ("the best fifth", "second", "third", "fourth", "the last fifth")
FEW = 8


def figure(frame: pd.DataFrame, columns: Sequence[tuple[str, str]], objective: Axis) -> go.Figure:
    """Returns a line a row over (column, title), in five colours by the rank of the objective; the best are drawn on top.

    Settings of a knob stand apart evenly, other numbers by their logarithm where they are positive.
    """
    drawing = blank(440)
    known = frame.dropna(subset=[objective.name])
    ranks = known[objective.name].rank(ascending=objective.minimize, method="first").to_numpy()
    fifths = np.minimum(((ranks - 1) * len(FIFTHS) / max(len(known), 1)).astype(int), len(FIFTHS) - 1)
    heights = np.column_stack([_heights(drawing, place, known[name]) for place, (name, _) in enumerate(columns)])
    for fifth in reversed(range(len(FIFTHS))):
        own = heights[fifths == fifth]
        ys: list[float | None] = [each for line in own for each in (*(None if np.isnan(y) else float(y) for y in line), None)]
        drawing.add_scatter(
            x=[*range(len(columns)), None] * len(own),
            y=ys,
            mode="lines",
            name=FIFTHS[fifth],
            opacity=0.75 if fifth == 0 else 0.3,
            line={"color": LIGHT.marks[(1, 0, 2, 3, 4)[fifth]] if fifth < 3 else LIGHT.muted, "width": 2 if fifth == 0 else 1},
            hoverinfo="skip",
        )
    for place, (_, title) in enumerate(columns):
        drawing.add_shape(type="line", x0=place, x1=place, y0=0, y1=1, line={"color": LIGHT.muted, "width": 1}, layer="below")
        drawing.add_annotation(x=place, y=1.06, text=f"<b>{_wrapped(title)}</b>", showarrow=False, yanchor="bottom", yshift=2)
    drawing.update_xaxes(visible=False, range=[-0.25, len(columns) - 0.5])
    drawing.update_yaxes(visible=False, range=[-0.06, 1.3])
    drawing.update_layout(
        legend={"y": -0.02, "yanchor": "top", "traceorder": "reversed"}, margin={"l": 24, "r": 24, "t": 8, "b": 48}
    )
    return drawing


def _wrapped(title: str) -> str:
    """Returns a title in lines short enough to stand beside its neighbours."""
    return "<br>".join(escape(line) for line in wrap(title.replace("_", " "), 13))


def _heights(drawing: go.Figure, place: int, values: pd.Series) -> np.ndarray:
    """Returns how high each value stands on its axis, 0 to 1, and writes what stands beside the axis."""
    numeric = pd.api.types.is_numeric_dtype(values)
    distinct = sorted(set(values.dropna())) if numeric else sorted({str(value) for value in values})
    if not numeric or len(distinct) <= FEW:
        places = {value: (index + 0.5) / len(distinct) for index, value in enumerate(distinct)}
        heights = np.array([places.get(value if numeric else str(value), np.nan) for value in values], dtype=float)
        ticks = [(height, f"{value:,g}" if numeric else value) for value, height in places.items()]
    else:
        plain = values.to_numpy(dtype=float)
        scaled = np.log(plain) if np.nanmin(plain) > 0 else plain
        low, high = np.nanmin(scaled), np.nanmax(scaled)
        heights = (scaled - low) / (high - low)
        ticks = [(0.0, f"{np.nanmin(plain):.3g}"), (1.0, f"{np.nanmax(plain):.3g}")]
    for height, text in ticks:
        font = {"size": 11, "color": LIGHT.muted}
        drawing.add_annotation(x=place, y=height, text=escape(str(text)), showarrow=False, xanchor="left", xshift=4, font=font)
    return heights
