"""Operating points over any two numbers, coloured by any knob or number: the frontier joined, what is beaten faint."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from dashboard.axis import Axis
from dashboard.figures.frontier import name_best, staircase
from dashboard.figures.theme import LIGHT, blank, scale, ticks, ticks_of_scale

MOST_NAMED = 12
# From the least to the most of a number: marks, each of which has its counterpart on the dark ground.
SHADES = (LIGHT.marks[0], LIGHT.marks[2], LIGHT.marks[1])


@dataclass(frozen=True)
class Look:
    """What is drawn: both axes, the column of the colour with its title, and the scale of each axis (None: by the values)."""

    x: Axis
    y: Axis
    color: str = "device"
    color_title: str = ""
    x_scale: str | None = None
    y_scale: str | None = None


def figure(frame: pd.DataFrame, look: Look) -> go.Figure:
    """Returns the scatter of an `explore_frame`; rows without a value on either axis are left out."""
    x, y = look.x, look.y
    shown = frame.dropna(subset=[x.name, y.name])
    drawing = blank(540)
    drawing.update_xaxes(title_text=f"{x.title}, {x.better}", **_scaled(shown, x, look.x_scale))
    drawing.update_yaxes(title_text=f"{y.title}, {y.better}", **_scaled(shown, y, look.y_scale))
    _limits(drawing, x, y)
    front = shown[shown["on_frontier"]]
    if len(front):
        staircase(drawing, front, x, y)
    if pd.api.types.is_float_dtype(shown[look.color]):
        _shaded(drawing, shown, look)
    else:
        _named(drawing, shown, look)
    name_best(drawing, front, x, y)
    return drawing


def _scaled(shown: pd.DataFrame, axis: Axis, asked: str | None) -> dict[str, object]:
    kind = asked or scale(shown[axis.name])
    return {**ticks_of_scale(kind), **ticks(axis.unit)}


def _limits(drawing: go.Figure, x: Axis, y: Axis) -> None:
    for axis, add, key in ((x, drawing.add_vline, "x"), (y, drawing.add_hline, "y")):
        if axis.limit is not None:
            label = {"text": f"SLO {axis.text(axis.limit)}", "textposition": "end", "textangle": 0, "xanchor": "right"}
            font = {"color": LIGHT.limit, "size": 12}
            add(**{key: axis.limit}, line={"color": LIGHT.limit, "width": 1.5, "dash": "dash"}, label={**label, "font": font})


def _named(drawing: go.Figure, shown: pd.DataFrame, look: Look) -> None:
    names = shown[look.color].astype(str)
    kept = sorted(names.unique(), key=_natural)[:MOST_NAMED]
    for place, name in enumerate(kept):
        color = LIGHT.marks[place % len(LIGHT.marks)]
        own = shown[names == name]
        _points(drawing, own, look, name, {"color": color})
    rest = shown[~names.isin(kept)]
    if len(rest):
        _points(drawing, rest, look, "others", {"color": LIGHT.muted})


def _natural(text: str) -> tuple[int, float, str]:
    try:
        return 0, float(text), ""
    except ValueError:
        return 1, 0.0, text


def _points(drawing: go.Figure, group: pd.DataFrame, look: Look, name: str, marker: dict[str, object]) -> None:
    for solid in (False, True):
        part = group[group["on_frontier"] == solid]
        line = {"color": LIGHT.surface, "width": 1.5 if solid else 0}
        drawing.add_scatter(
            x=part[look.x.name].tolist() or [None],
            y=part[look.y.name].tolist() or [None],
            mode="markers",
            name=name,
            legendgroup=name,
            showlegend=solid,
            opacity=1 if solid else 0.28,
            marker={**marker, "size": 11 if solid else 7, "line": line},
            text=part["hover"].tolist(),
            customdata=part["trial"].tolist(),
            hovertemplate="%{text}<extra></extra>",
        )


def _shaded(drawing: go.Figure, shown: pd.DataFrame, look: Look) -> None:
    ends = {"cmin": float(shown[look.color].min()), "cmax": float(shown[look.color].max())} if len(shown) else {}
    shades = [[place / (len(SHADES) - 1), color] for place, color in enumerate(SHADES)]
    for solid in (False, True):
        part = shown[shown["on_frontier"] == solid]
        drawing.add_scatter(
            x=part[look.x.name].tolist(),
            y=part[look.y.name].tolist(),
            mode="markers",
            name="on the frontier" if solid else "beaten",
            showlegend=False,
            opacity=1 if solid else 0.35,
            marker={
                "color": part[look.color].tolist(),
                "colorscale": shades,
                **ends,
                "showscale": solid,
                "size": 11 if solid else 7,
                "line": {"color": LIGHT.muted, "width": 1 if solid else 0},
                "colorbar": {"title": {"text": look.color_title, "side": "right"}, "thickness": 12, "outlinewidth": 0},
            },
            text=part["hover"].tolist(),
            customdata=part["trial"].tolist(),
            hovertemplate="%{text}<extra></extra>",
        )
