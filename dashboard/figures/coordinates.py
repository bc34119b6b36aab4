"""Parallel coordinates: every deployment a line over its knobs and objectives."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboard.figures.explore import SHADES
from dashboard.figures.theme import LIGHT, blank


def figure(frame: pd.DataFrame, columns: Sequence[tuple[str, str]], color: str) -> go.Figure:
    """Returns a line a row over (column, title); text columns stand by their values; `color` names a number."""
    drawing = blank(420)
    dimensions = [_dimension(frame[name], title) for name, title in columns]
    shades = [[place / (len(SHADES) - 1), shade] for place, shade in enumerate(SHADES[::-1])]
    drawing.add_trace(
        go.Parcoords(
            dimensions=dimensions,
            line={"color": frame[color].tolist(), "colorscale": shades, "showscale": False},
            labelfont={"color": LIGHT.ink, "size": 13},
            tickfont={"color": LIGHT.muted, "size": 11},
            rangefont={"color": LIGHT.muted, "size": 11},
            unselected={"line": {"color": LIGHT.grid, "opacity": 0.25}},
        )
    )
    drawing.update_layout(margin={"l": 80, "r": 80, "t": 56, "b": 24})
    return drawing


def _dimension(values: pd.Series, title: str) -> dict[str, object]:
    if pd.api.types.is_numeric_dtype(values):
        distinct = sorted(set(values.dropna().tolist()))
        if len(distinct) > 8:
            return {"label": title, "values": values.tolist()}
        # A few settings of a knob stand apart evenly: 512 and 8,192 are two choices, not a distance.
        places = {value: place for place, value in enumerate(distinct)}
        texts = [f"{value:,g}" for value in distinct]
    else:
        names = sorted({str(value) for value in values})
        places, texts = {name: place for place, name in enumerate(names)}, names
        values = values.astype(str)
    ticks = {"tickvals": list(range(len(texts))), "ticktext": texts}
    return {"label": title, "values": [places.get(value) for value in values], **ticks}
