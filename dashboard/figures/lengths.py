"""Token lengths of traffic: how many requests have prompts and outputs of which length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from dashboard.figures.theme import LIGHT, blank

BINS = 36


def figure(items: Sequence[tuple[str, ArrayLike]]) -> go.Figure:
    """Returns a line of steps for each (name, token counts from 1): the share of requests by length, on a log axis."""
    drawing = blank(260)
    arrays = [(name, np.asarray(values, dtype=np.float64)) for name, values in items]
    drawing.update_xaxes(title_text="tokens", type="log", tickformat="~s", dtick=1)
    drawing.update_yaxes(title_text="share of requests", tickformat=".0%", rangemode="tozero")
    whole = np.concatenate([values for _, values in arrays]) if arrays else np.array([1.0])
    edges = np.geomspace(max(whole.min(), 1) * 0.9, max(whole.max(), 2) * 1.1, BINS + 1)
    for place, (name, values) in enumerate(arrays):
        shares = np.histogram(values, edges)[0] / max(len(values), 1)
        color = LIGHT.marks[place % len(LIGHT.marks)]
        texts = [
            f"{low:,.0f} to {high:,.0f} tokens: {share:.1%}" for low, high, share in zip(edges, edges[1:], shares, strict=False)
        ]
        drawing.add_scatter(
            x=np.repeat(edges, 2)[1:-1].tolist(),
            y=np.repeat(shares, 2).tolist(),
            mode="lines",
            name=name,
            line={"color": color, "width": 2},
            fill="tozeroy",
            opacity=0.9,
            text=[text for text in texts for _ in range(2)],
            hovertemplate=f"{name}<br>%{{text}}<extra></extra>",
        )
    return drawing
