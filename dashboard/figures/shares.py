"""Shares of a whole as level bars, the largest on top."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from dashboard.figures.theme import LIGHT, blank


def figure(rows: Sequence[tuple[str, float, str]], title: str) -> go.Figure:
    """Returns bars of (name, share, what is told of it when pointed at), the largest share on top."""
    ordered = sorted(rows, key=lambda row: row[1])
    drawing = blank(90 + 34 * len(ordered))
    most = max((share for _, share, _ in ordered), default=1.0)
    drawing.update_xaxes(title_text=title, tickformat=".0%", range=[0, max(most * 1.15, 0.01)])
    drawing.update_yaxes(showgrid=False)
    drawing.add_bar(
        x=[share for _, share, _ in ordered],
        y=[name for name, _, _ in ordered],
        orientation="h",
        text=[f"{share:.0%}" if share >= 0.01 else "<1%" for _, share, _ in ordered],
        textposition="outside",
        cliponaxis=False,
        marker={"color": LIGHT.marks[0]},
        customdata=[told for _, _, told in ordered],
        hovertemplate="%{y}: %{x:.1%}<br>%{customdata}<extra></extra>",
    )
    drawing.update_layout(bargap=0.4)
    return drawing
