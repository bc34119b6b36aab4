"""The frontier: two objectives of every operating point, the Pareto set among them joined by its staircase."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from dashboard.axis import Axis
from dashboard.figures.theme import LIGHT, blank, scale, symbols, ticks, ticks_of_scale
from search.frontier import Direction, pareto

# Beyond this, faint points cost the browser more than they tell; an even choice of them is drawn.
MOST_FAINT = 2_000
OVER = "x-thin-open"


def figure(frame: pd.DataFrame, x: Axis, y: Axis, palette: Mapping[str, str]) -> go.Figure:
    """Returns the scatter of a `points_frame` over two objectives: colour by device from `palette`, marker by scheduler.

    Points off the frontier are faint, those over the SLO are thin crosses, and points that cannot be told apart from the
    best are ringed. Rows without a value on either axis are left out.
    """
    shown = _marked(frame, palette).dropna(subset=[x.name, y.name])
    front = shown[shown["on_frontier"]]
    drawing = blank(540)
    _style(drawing, shown, x, y)
    _limits(drawing, x, y)
    _faint(drawing, shown, x, y)
    staircase(drawing, front, x, y)
    _members(drawing, shown, x, y)
    _rings(drawing, shown, x, y)
    name_best(drawing, front, x, y)
    return drawing


def _marked(frame: pd.DataFrame, palette: Mapping[str, str]) -> pd.DataFrame:
    """Returns the frame with the colour of each row's device and the symbol of its scheduler."""
    return frame.assign(color=frame["device"].map(palette), symbol=frame["scheduler"].map(symbols(frame["scheduler"])))


def _style(drawing: go.Figure, shown: pd.DataFrame, x: Axis, y: Axis) -> None:
    drawing.update_xaxes(title_text=f"{x.title}, {x.better}", **ticks_of_scale(scale(shown[x.name])), **ticks(x.unit))
    drawing.update_yaxes(title_text=f"{y.title}, {y.better}", **ticks_of_scale(scale(shown[y.name])), **ticks(y.unit))


def _limits(drawing: go.Figure, x: Axis, y: Axis) -> None:
    for axis, add, key in ((x, drawing.add_vline, "x"), (y, drawing.add_hline, "y")):
        if axis.limit is not None:
            label: dict[str, object] = {
                "text": f"SLO {axis.text(axis.limit)}",
                "textposition": "end",
                "font": {"color": LIGHT.limit, "size": 12},
            }
            label |= {"textangle": 0, "xanchor": "right", "yanchor": "top"}
            add(**{key: axis.limit}, line={"color": LIGHT.limit, "width": 1.5, "dash": "dash"}, label=label)


def _faint(drawing: go.Figure, shown: pd.DataFrame, x: Axis, y: Axis) -> None:
    others = shown[~shown["on_frontier"]]
    if len(others) > MOST_FAINT:
        # The best price is at the end of each deployment's curve, so the choice runs over the order of rows.
        others = others.iloc[[round(i * (len(others) - 1) / (MOST_FAINT - 1)) for i in range(MOST_FAINT)]]
    for _, group in others.groupby(["device", "scheduler", "within_slo"], sort=True):
        first = group.iloc[0]
        line = {"width": 0 if first["within_slo"] else 1}
        drawing.add_scatter(
            x=group[x.name].tolist(),
            y=group[y.name].tolist(),
            mode="markers",
            name="off the frontier" if first["within_slo"] else "over the SLO",
            legendgroup=f"{first['device']} {first['scheduler']}",
            showlegend=False,
            marker={"color": first["color"], "symbol": first["symbol"] if first["within_slo"] else OVER, "size": 7, "line": line},
            opacity=0.28 if first["within_slo"] else 0.4,
            text=group["hover"].tolist(),
            hovertemplate="%{text}<extra></extra>",
        )


def staircase(drawing: go.Figure, front: pd.DataFrame, x: Axis, y: Axis) -> None:
    """Joins the points that no other beats in these two objectives; with more objectives that is a part of the frontier."""
    directions: list[Direction] = ["minimize" if axis.minimize else "maximize" for axis in (x, y)]
    member = pareto(front[[x.name, y.name]].to_numpy(dtype=float), directions)
    steps = front[member].sort_values([x.name, y.name])
    # Between two points a budget on x buys the one that keeps it: the cheaper side's where x is minimized.
    drawing.add_scatter(
        x=steps[x.name].tolist(),
        y=steps[y.name].tolist(),
        mode="lines",
        name="frontier",
        showlegend=False,
        line={"color": LIGHT.muted, "width": 1.5, "shape": "hv" if x.minimize else "vh"},
        hoverinfo="skip",
    )


def _members(drawing: go.Figure, shown: pd.DataFrame, x: Axis, y: Axis) -> None:
    one_scheduler = shown["scheduler"].nunique() == 1
    for _, every in shown.groupby(["device", "scheduler"], sort=True):
        first, group = every.iloc[0], every[every["on_frontier"]]
        line = {"color": LIGHT.surface, "width": 1.5}
        drawing.add_scatter(
            # A trace without any point has no place in the legend, which must explain the faint points too.
            x=group[x.name].tolist() or [None],
            y=group[y.name].tolist() or [None],
            mode="markers",
            name=first["device"] if one_scheduler else f"{first['device']} · {first['scheduler']}",
            legendgroup=f"{first['device']} {first['scheduler']}",
            showlegend=True,
            marker={"color": first["color"], "symbol": first["symbol"], "size": 11, "line": line},
            text=group["hover"].tolist(),
            customdata=group["point"].tolist(),
            hovertemplate="%{text}<extra></extra>",
        )


def _rings(drawing: go.Figure, shown: pd.DataFrame, x: Axis, y: Axis) -> None:
    tied = shown[shown["tied"]]
    # Two loads of one deployment are no choice between deployments.
    if tied["trial"].nunique() > 1:
        drawing.add_scatter(
            x=tied[x.name].tolist(),
            y=tied[y.name].tolist(),
            mode="markers",
            name="tied with the best",
            marker={"symbol": "circle-open", "size": 19, "color": LIGHT.ink, "line": {"width": 1.5, "color": LIGHT.ink}},
            hoverinfo="skip",
        )


def name_best(drawing: go.Figure, front: pd.DataFrame, x: Axis, y: Axis) -> None:
    """Adds the word beside the first of the frontier."""
    best = front[front["place"] == 1]
    drawing.add_scatter(
        x=best[x.name].tolist(),
        y=best[y.name].tolist(),
        mode="text",
        # Above the point and right of its ring: the staircase leaves it sideways or downwards.
        text=["    <b>best</b>"] * len(best),
        textposition="top right",
        textfont={"size": 13, "color": LIGHT.ink, "shadow": f"0 0 3px {LIGHT.surface}, 0 0 3px {LIGHT.surface}"},
        showlegend=False,
        hoverinfo="skip",
        cliponaxis=False,
    )
