"""What traffic looks like before it is searched: lengths, and the rate over time where there is one."""

from __future__ import annotations

import numpy as np
from dash import html
from dash.development.base_component import Component

from dashboard.figures import arrivals, lengths
from dashboard.parts import Content, chart, facts, warning
from dashboard.words import count, number
from db.session import Store
from search import uploads
from simulator import catalog
from simulator.draw import draw
from simulator.draw.recorded import load
from simulator.errors import TrimtabError
from simulator.spec.workload import Workload
from simulator.traces import Trace

DRAWN = 4000


def preview(store: Store, workload: Workload) -> Component:
    """Returns figures and figures in words of a workload; a line where it cannot be drawn."""
    try:
        if workload.trace is not None:
            uploads.fetch(store, workload)
            return _recorded(load(workload.trace))
        drawn = draw(workload, DRAWN, 0, resample=True)
    except TrimtabError as error:
        return warning(str(error))
    shape = [("Drawn", count(len(drawn.prompt_tokens), "request")), *_lengths(drawn.prompt_tokens, drawn.output_tokens)]
    diurnal = catalog.preset(workload.preset).diurnal if workload.preset is not None else None
    rate = None
    if diurnal is not None:
        rate = (
            "Its rate over a day",
            chart("new-rate", arrivals.daily(diurnal.weekday_utc, diurnal.weekend_utc), "Rate by hour of the day"),
        )
    return _shown(shape, drawn.prompt_tokens, drawn.output_tokens, rate, drawn.notes)


def _recorded(trace: Trace) -> Component:
    clock = trace.arrival_s
    span = 0.0 if clock is None else float(clock[-1] - clock[0])
    told: list[tuple[str, Content]] = [("Requests", f"{len(trace):,}")]
    if span > 0:
        told += [("Mean rate", f"{number((len(trace) - 1) / span)} /s"), ("Duration", _span(span))]
    rate = None
    if clock is not None and span > 0:
        rate = ("Its rate over time", chart("new-rate", arrivals.recorded(clock), "Requests a second over the time of the trace"))
    shape = [*told, *_lengths(trace.prompt_tokens, trace.output_tokens)]
    return _shown(shape, trace.prompt_tokens, trace.output_tokens, rate, trace.notes)


def _lengths(prompt: np.ndarray, output: np.ndarray) -> list[tuple[str, Content]]:
    found: list[tuple[str, Content]] = []
    for name, tokens in (("Prompt", prompt), ("Output", output)):
        median, high = np.percentile(tokens, [50, 99], method="inverted_cdf")
        found.append((f"{name} p50, p99", f"{median:,.0f}, {high:,.0f} tokens"))
    return found


def _shown(
    told: list[tuple[str, Content]],
    prompt: np.ndarray,
    output: np.ndarray,
    rate: tuple[str, Component] | None,
    notes: tuple[str, ...],
) -> Component:
    drawing = lengths.figure([("prompt", prompt), ("output", output)])
    panels = [
        ("Lengths", chart("new-lengths", drawing, "Share of requests by prompt and output tokens")),
        *([rate] if rate else []),
    ]
    shown = [html.Div([html.H3(title), panel], className="panel") for title, panel in panels]
    said = html.Ul([html.Li(note) for note in notes], className="notes") if notes else None
    return html.Div([facts(told), html.Div(shown, className="pair three"), said])


def _span(seconds: float) -> str:
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{number(seconds / size)} {unit}"
    return f"{number(seconds)} s"
