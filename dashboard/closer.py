"""The closer look of a trial's page: one load simulated again on demand, in a process of its own, while the page waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dash import Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component

from dashboard.background import Background
from dashboard.figures import cumulative, shares, steps
from dashboard.parts import aria, chart, section, warning
from dashboard.words import number, spoken
from db import queries
from db.session import Store
from search.closer import REQUESTS, WINDOW_S, look
from simulator.spec.slo import TERMS

POLL_MS = 700
# Named for people as the classes of operators are not.
NAMES = {"Gemm": "matrix products", "DecodeAttention": "decode attention", "PrefillAttention": "prefill attention"}
NAMES |= {
    "Memory": "norms, activations, copies",
    "Collective": "collectives",
    "AllReduce": "all-reduce",
    "SendRecv": "send and receive",
}


def section_of(page: str) -> html.Section:
    """Returns the section with its button; ids begin with the name of the page."""
    return section(
        "A closer look",
        html.Div([html.Button("Simulate this load again", id=f"{page}-look", type="button", className="main")], className="row"),
        dcc.Interval(id=f"{page}-poll", interval=POLL_MS, disabled=True),
        html.Div(id=f"{page}-looked", **aria(live="polite")),
        caption=f"{REQUESTS:,} requests at the load chosen above: whole distributions, time by operator, "
        f"and {WINDOW_S:g} s of iterations. Seconds of work, in the background.",
    )


def register(app: Dash, store: Callable[[], Store], background: Background) -> None:
    """Adds the button of the trial's page and what asks for the answer."""

    @app.callback(
        Output("trial-looked", "children"),
        Output("trial-poll", "disabled"),
        Output("trial-look", "disabled"),
        Input("trial-look", "n_clicks"),
        Input("trial-poll", "n_intervals"),
        State("trial-at", "data"),
        State("trial-rate", "value"),
        prevent_initial_call=True,
    )
    def looked(clicks: int | None, ticks: int | None, at: dict[str, Any], rate: float | None) -> tuple[object, bool, bool]:
        if not clicks or rate is None:
            return no_update, True, False
        key = f"{at['study']}/{at['trial']}@{rate!r}"
        if ctx.triggered_id == "trial-look":
            study = queries.study(store(), at["study"])
            trial = queries.trial(store(), study.id, at["trial"])
            background.begin(key, look, study.request, trial.deployment, rate, trial.seed)
        answer = background.answer(key)
        if answer is None:
            return html.P("Other work waits already; try again in a minute."), True, False
        if not answer.done:
            return html.P(f"Simulating {number(rate)} requests/s …", className="caption"), False, True
        if answer.error is not None:
            return warning(answer.error), True, False
        study = queries.study(store(), at["study"])
        return shown(answer.value, study.request.get("slo") or {}), True, False


def shown(found: Mapping[str, Any], slo: Mapping[str, Any]) -> Component:
    """Returns what a closer look found."""
    panels = []
    for kind, values in found["distributions"].items():
        limits = {name.split("_")[1]: float(slo[name]) for name in slo if name in TERMS and name.split("_")[0] == kind}
        drawing = cumulative.figure([(spoken(kind), values)], spoken(kind), limits)
        panels.append(
            html.Div(
                [html.H3(spoken(kind)), chart(f"trial-cdf-{kind}", drawing, f"Distribution of {spoken(kind)}")], className="panel"
            )
        )
    rows = [
        (NAMES.get(s["operator"], s["operator"]), s["share"], f"times from {s['source'] or 'no source'}") for s in found["shares"]
    ]
    split = shares.figure(rows, "share of the GPU's time")
    recorded, left = found["steps"], found["steps"]["left_out"]
    cut = f" {left:,} later iterations are left out." if left else ""
    told = f"Engine 0 from second {recorded['from_s']:.0f} of the run on. Draw across to zoom, double-click to go back.{cut}"
    return html.Div(
        [
            html.P(f"At {number(found['rate_rps'])} requests/s, {found['requests']:,} requests.", className="caption"),
            html.Div(panels, className="pair"),
            html.H3("Time by operator") if rows else None,
            chart("trial-shares", split, "Share of the GPU's time by kind of operator") if rows else None,
            html.H3("One minute of iterations"),
            html.P(told, className="caption"),
            chart("trial-steps", steps.figure(recorded), "Iterations over one minute"),
        ]
    )
