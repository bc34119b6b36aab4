"""The latency curve: a latency against the load of the whole fleet, up to where the SLO ends it."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from dashboard.axis import Axis
from dashboard.figures.theme import LIGHT, blank, scale, ticks, ticks_of_scale


def figure(frame: pd.DataFrame, latency: Axis, palette: Mapping[str, str], demand_rps: float | None = None) -> go.Figure:
    """Returns one latency of a `curves_frame` over the arrival rate, a line for each deployment, coloured by device.

    An upright line is the capacity, the shaded band its interval, a diamond the point nearest to it, the dashed line the
    SLO's bound on this latency; a dotted line is the demand where the study has one.
    """
    shown = frame.dropna(subset=[latency.name])
    drawing = blank(400)
    drawing.update_xaxes(title_text="Arrival rate of the fleet (requests per second)", rangemode="tozero", **ticks("rate"))
    drawing.update_yaxes(title_text=latency.title, **ticks_of_scale(scale(shown[latency.name])), **ticks(latency.unit))
    for _, curve in shown.groupby("trial", sort=False):
        device = curve["device"].iloc[0]
        _band(drawing, curve, palette[device])
        _line(drawing, curve, latency, palette[device])
    if latency.limit is not None:
        _mark(drawing, "y", latency.limit, f"SLO {latency.text(latency.limit)}", LIGHT.limit, "dash", "start")
    if demand_rps is not None:
        _mark(drawing, "x", demand_rps, "demand", LIGHT.muted, "dot", "end")
    return drawing


def _line(drawing: go.Figure, curve: pd.DataFrame, latency: Axis, color: str) -> None:
    at_capacity = curve["at_capacity"].tolist()
    drawing.add_scatter(
        x=curve["rate_rps"].tolist(),
        y=curve[latency.name].tolist(),
        mode="lines+markers",
        name=curve["title"].iloc[0],
        legendgroup=str(curve["trial"].iloc[0]),
        line={"color": color, "width": 2},
        marker={
            "size": [13 if here else 5 for here in at_capacity],
            "symbol": ["diamond" if here else "circle" for here in at_capacity],
            "opacity": 1,
            "line": {"color": LIGHT.surface, "width": [1.5 if here else 0 for here in at_capacity]},
        },
        text=curve["hover"].tolist(),
        hovertemplate="%{text}<extra></extra>",
    )


def _band(drawing: go.Figure, curve: pd.DataFrame, color: str) -> None:
    first = curve.iloc[0]
    if pd.isna(first["capacity_rps"]):
        return
    across = {"type": "rect", "xref": "x", "yref": "y domain", "y0": 0, "y1": 1, "layer": "below"}
    if pd.notna(first["capacity_low_rps"]) and pd.notna(first["capacity_high_rps"]):
        ends = {"x0": float(first["capacity_low_rps"]), "x1": float(first["capacity_high_rps"])}
        drawing.add_shape(**across, **ends, fillcolor=color, opacity=0.16, line={"width": 0}, name="capacity interval")
    value = float(first["capacity_rps"])
    drawing.add_shape(**{**across, "type": "line"}, x0=value, x1=value, line={"color": color, "width": 1}, name="capacity")


def _mark(drawing: go.Figure, axis: str, value: float, text: str, color: str, dash: str, where: str) -> None:
    add = drawing.add_hline if axis == "y" else drawing.add_vline
    # Beneath a level line and left of an upright one, where the plot's edge cannot cut it off.
    label = {"text": text, "textposition": where, "textangle": 0, "yanchor": "top", "font": {"color": color, "size": 12}}
    label |= {"xanchor": "right", "padding": 4} if axis == "x" else {"xanchor": "left"}
    add(**{axis: value}, line={"color": color, "width": 1.5, "dash": dash}, label=label)
