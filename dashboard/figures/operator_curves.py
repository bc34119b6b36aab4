"""Operator times over tokens, one line an operator, dashed where no measurement stands behind most of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from dashboard.figures.theme import LIGHT, SYMBOLS, blank

MEASURED = ("measured", "interpolated")


@dataclass(frozen=True)
class Line:
    """One operator: its name, where its times come from, and seconds an iteration over an extent."""

    name: str
    origin: str
    kind: str
    extent: Sequence[float]
    seconds: Sequence[float]


def figure(lines: Sequence[Line], extent: str) -> go.Figure:
    """Returns seconds over `extent` on log axes; the operators that take most come first in the legend."""
    drawing = blank(430)
    drawing.update_xaxes(title_text=extent, type="log", tickformat="~s", dtick=1)
    drawing.update_yaxes(title_text="time an iteration", type="log", ticksuffix="s", tickformat="~s", dtick=1)
    drawing.update_layout(legend={"orientation": "v", "x": 1.01, "y": 1, "yanchor": "top"}, margin={"r": 8})
    ordered = sorted(lines, key=lambda line: -max(line.seconds, default=0.0))
    for place, line in enumerate(ordered):
        color = LIGHT.marks[place % len(LIGHT.marks)]
        drawing.add_scatter(
            x=list(line.extent),
            y=list(line.seconds),
            mode="lines+markers",
            name=line.name,
            line={"color": color, "width": 2, "dash": "solid" if line.kind in MEASURED else "dot"},
            marker={"symbol": SYMBOLS[(place // len(LIGHT.marks)) % len(SYMBOLS)], "size": 5, "color": color},
            hovertemplate=f"{line.name} ({line.kind}, {line.origin})<br>%{{x:,}} {extent}: %{{y:.3s}}s<extra></extra>",
        )
    return drawing
