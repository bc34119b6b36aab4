"""A week of a fleet: demand by hour, and the replicas of each way to rent it."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from dashboard.figures.theme import LIGHT, blank


def figure(
    demand_rps: Sequence[float],
    labels: Sequence[str],
    fleets: Sequence[tuple[str, Sequence[int]]],
    holds_rps: Sequence[float] | None = None,
) -> go.Figure:
    """Returns demand (rps, by hour) above and replicas by hour of each named fleet below, zoomed together.

    `holds_rps` is what the first fleet holds in each hour.
    """
    drawing = blank(460)
    line = drawing.layout.yaxis.to_plotly_json()
    hours = list(range(len(demand_rps)))
    drawing.update_layout(
        yaxis={**line, "domain": [0.56, 1], "title": {"text": "requests/s", "standoff": 8}, "rangemode": "tozero"},
        yaxis2={**line, "domain": [0, 0.44], "title": {"text": "replicas", "standoff": 8}, "rangemode": "tozero"},
        hovermode="x unified",
        hoversubplots="axis",
    )
    drawing.add_scatter(
        x=hours, y=list(demand_rps), name="demand", mode="lines", fill="tozeroy", customdata=list(labels),
        line={"color": LIGHT.marks[0], "width": 1.5, "shape": "hv"},
        hovertemplate="%{customdata}: %{y:.3~s} requests/s<extra></extra>",
    )  # fmt: skip
    if holds_rps is not None:
        drawing.add_scatter(
            x=hours, y=list(holds_rps), name="what the fleet holds", mode="lines",
            line={"color": LIGHT.muted, "width": 1.5, "shape": "hv", "dash": "dot"},
            hovertemplate="holds %{y:.3~s}<extra></extra>",
        )  # fmt: skip
    for place, (name, replicas) in enumerate(fleets):
        drawing.add_scatter(
            x=hours, y=list(replicas), name=name, mode="lines", yaxis="y2",
            line={"color": LIGHT.marks[(place + 1) % len(LIGHT.marks)], "width": 2, "shape": "hv"},
            hovertemplate=f"{name}: %{{y:,}}<extra></extra>",
        )  # fmt: skip
    days = [hour for hour in hours if hour % 24 == 0]
    drawing.update_xaxes(
        anchor="y2", tickvals=days, ticktext=[labels[day].split(" ")[0] for day in days], title_text="hour of the week"
    )
    return drawing
