"""The rate of arrivals over time: of a recorded trace in requests a second, of a preset over the hours of a day."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from dashboard.figures.theme import LIGHT, blank

BINS = 80
_UNITS = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


def recorded(arrival_s: ArrayLike) -> go.Figure:
    """Returns the requests a second over a trace's own clock, from arrival times in seconds that do not fall."""
    times = np.asarray(arrival_s, dtype=np.float64)
    times = times - times[0]
    span = float(times[-1]) or 1.0
    size, unit = next(((size, unit) for size, unit in _UNITS if span >= 3 * size), _UNITS[-1])
    counts, edges = np.histogram(times, bins=min(BINS, max(len(times) // 5, 1)), range=(0.0, span))
    rates = counts / np.diff(edges)
    drawing = blank(260)
    drawing.update_xaxes(title_text=unit, tickformat="~g")
    drawing.update_yaxes(title_text="requests/s", rangemode="tozero", tickformat="~g")
    drawing.add_scatter(
        x=(edges[:-1] / size).tolist(),
        y=rates.tolist(),
        mode="lines",
        line={"color": LIGHT.marks[0], "width": 2, "shape": "hv"},
        fill="tozeroy",
        hovertemplate=f"from %{{x:.3g}} {unit}: %{{y:.3g}} requests/s<extra></extra>",
    )
    drawing.add_hline(y=len(times) / span, line={"color": LIGHT.muted, "dash": "dash", "width": 1.5})
    return drawing


def daily(weekday: Sequence[float], weekend: Sequence[float]) -> go.Figure:
    """Returns the rate by hour of the day (UTC) over the weekly mean, 24 values each."""
    drawing = blank(260)
    drawing.update_xaxes(title_text="hour of the day, UTC", dtick=4, range=[0, 24])
    drawing.update_yaxes(
        title_text="over the weekly mean", rangemode="tozero", tickformat="~g", ticksuffix="\N{MULTIPLICATION SIGN}"
    )
    for place, (name, values) in enumerate((("weekday", weekday), ("weekend", weekend))):
        drawing.add_scatter(
            x=list(range(25)),
            y=[*values, values[-1]],
            mode="lines",
            name=name,
            line={"color": LIGHT.marks[place], "width": 2, "shape": "hv"},
            hovertemplate=f"{name}, %{{x}} h: %{{y:.2f}} times the mean<extra></extra>",
        )
    return drawing
