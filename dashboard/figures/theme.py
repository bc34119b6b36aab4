"""Colours, marks and layout that all figures share, and what Plotly's own toolbar may show."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go


@dataclass(frozen=True)
class Palette:
    """One ground's colours in hex; `marks` can be told apart with any of the common colour blindnesses."""

    surface: str
    ink: str
    muted: str
    grid: str
    limit: str
    marks: tuple[str, ...]


LIGHT = Palette(
    surface="#ffffff",
    ink="#1c2430",
    muted="#5b6675",
    grid="#e3e7ed",
    limit="#c0273d",
    marks=("#2b62d9", "#d9660f", "#1f9a8a", "#7a1468", "#a03313", "#4b1400", "#069ce4", "#4024ad"),
)
DARK = Palette(
    surface="#161b22",
    ink="#e6eaf0",
    muted="#9aa6b5",
    grid="#2b323c",
    limit="#ff6b7d",
    marks=("#5aa2ff", "#f58a2e", "#8ef0c8", "#d05fa8", "#a05b11", "#e6e04a", "#6cc7d7", "#5f66ed"),
)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon", "triangle-down")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"
# Plotly would otherwise offer to upload the chart to a host on the internet.
CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d"],
}
# A value a hundred times another leaves the smaller ones on the floor of a linear axis.
_LOG_FROM = 20.0


def dark_for_light() -> dict[str, str]:
    """Returns the dark colour of every light one, by which a figure's JSON is turned dark."""
    names = ("surface", "ink", "muted", "grid", "limit")
    plain = {getattr(LIGHT, name): getattr(DARK, name) for name in names}
    return plain | dict(zip(LIGHT.marks, DARK.marks, strict=True))


def colors(devices: Iterable[str]) -> dict[str, str]:
    """Returns the colour of each device, the same wherever the same devices are shown."""
    return {device: LIGHT.marks[index % len(LIGHT.marks)] for index, device in enumerate(sorted(set(devices)))}


def symbols(schedulers: Iterable[str]) -> dict[str, str]:
    """Returns the marker of each scheduler, the same wherever the same schedulers are shown."""
    return {name: SYMBOLS[index % len(SYMBOLS)] for index, name in enumerate(sorted(set(schedulers)))}


def scale(values: Iterable[float]) -> str:
    """Returns `log` when the positive values span more than a factor of 20, else `linear`."""
    positive = [value for value in values if value > 0]
    return "log" if positive and max(positive) > _LOG_FROM * min(positive) else "linear"


def ticks_of_scale(kind: str) -> dict[str, str | float | None]:
    """Returns an axis's type with its tick distance: a factor of two where it is `log`, Plotly's choice else."""
    return {"type": kind, "tick0": 0, "dtick": math.log10(2)} if kind == "log" else {"type": kind, "tick0": None, "dtick": None}


def ticks(unit: str) -> dict[str, str]:
    """Returns an axis's tick format for a unit: dollars with their sign, seconds with ms where they are small."""
    if unit.startswith("USD"):
        return {"tickprefix": "$", "tickformat": "~g"}
    return {"ticksuffix": "s", "tickformat": "~s"} if unit == "s" else {"tickformat": "~s"}


def blank(height: int) -> go.Figure:
    """Returns an empty figure of that height in pixels, in the house's look."""
    line = {"gridcolor": LIGHT.grid, "linecolor": LIGHT.grid, "zeroline": False, "automargin": True, "title": {"standoff": 12}}
    return go.Figure(
        layout={
            "template": None,
            "height": height,
            "autosize": True,
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": FONT, "size": 13, "color": LIGHT.ink},
            "margin": {"l": 64, "r": 40, "t": 16, "b": 56},
            "hovermode": "closest",
            "hoverlabel": {
                "bgcolor": LIGHT.surface,
                "bordercolor": LIGHT.grid,
                "font": {"family": FONT, "size": 12.5, "color": LIGHT.ink},
                "align": "left",
            },
            "legend": {
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": 1.02,
                "yanchor": "bottom",
                "font": {"size": 12.5},
                "itemsizing": "constant",
            },
            "modebar": {"orientation": "v", "bgcolor": "rgba(0,0,0,0)", "color": LIGHT.muted, "activecolor": LIGHT.ink},
            "xaxis": line,
            "yaxis": line,
        }
    )
