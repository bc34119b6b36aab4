"""The part of a study's page that holds newer traffic against it: what changed, and whether its answer still stands."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dash import Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component
from pydantic import TypeAdapter

from dashboard.background import Background
from dashboard.parts import Content, aria, badge, link, section, table, warning
from dashboard.report.tables import Cell
from dashboard.trace_choices import trace_choices
from dashboard.words import ABSENT, count, number, seconds, spoken, usd
from db import queries
from db.session import Store
from search import inward
from search.drift import report, words
from search.drift.document import Drift, Load
from simulator.errors import InputError

POLL_MS = 700
MOST_REPLICAS = 4096
CAPTION = (
    "An uploaded trace beside the traffic of this study: what changed by more than sampling explains, and whether the study's "
    "deployment keeps its SLO under it. Seconds of work, in the background."
)


def section_of(store: Store) -> html.Section:
    """Returns the section with its form."""
    kept = trace_choices(store)
    nothing = "None uploaded yet" if not kept else "Choose one"
    fields = [
        _field("trace", "Trace", dcc.Dropdown(id="study-drift-trace", options=kept, placeholder=nothing)),
        _field("rate", "Rate (requests/s)", _number("rate", "as the trace has it")),
        _field("replicas", "Replicas that run", _number("replicas", "as the study has it")),
    ]
    return section(
        "Newer traffic",
        html.Div(fields, className="fields three"),
        html.Div(
            [
                html.Button("Hold against the study", id="study-drift-go", type="button", className="main"),
                link("Upload a trace", "/new"),
            ],
            className="row",
        ),
        dcc.Store(id="study-drift-key"),
        dcc.Interval(id="study-drift-poll", interval=POLL_MS, disabled=True),
        html.Div(id="study-drift-found", **aria(live="polite")),
        caption=CAPTION,
    )


def _field(name: str, label: str, control: Component) -> Component:
    return html.Div([html.Label(label, htmlFor=f"study-drift-{name}"), control], className="field")


def _number(name: str, nothing: str) -> Component:
    return dcc.Input(id=f"study-drift-{name}", type="number", min=0, step="any", placeholder=nothing, debounce=True)


def register(app: Dash, store: Callable[[], Store], background: Background) -> None:
    """Adds the button and what asks for the answer."""

    @app.callback(
        Output("study-drift-found", "children"),
        Output("study-drift-poll", "disabled"),
        Output("study-drift-go", "disabled"),
        Output("study-drift-key", "data"),
        Input("study-drift-go", "n_clicks"),
        Input("study-drift-poll", "n_intervals"),
        State("study-id", "data"),
        State("study-drift-trace", "value"),
        State("study-drift-rate", "value"),
        State("study-drift-replicas", "value"),
        State("study-drift-key", "data"),
        prevent_initial_call=True,
    )
    def drifted(
        clicks: int | None, ticks: int | None, study: str, trace: str | None, rate: float | None, replicas: float | None, key: str
    ) -> tuple[object, bool, bool, object]:
        if not clicks:
            return no_update, True, False, no_update
        if ctx.triggered_id == "study-drift-go":
            wrong = _wrong(trace, rate, replicas) or _outside(store(), study)
            if wrong is not None or trace is None:
                return warning(wrong or ""), True, False, no_update
            key = json.dumps(["drift", study, trace, rate, replicas])
            asked = report.Asked(trace, None, rate, None if replicas is None else int(replicas))
            url = store().engine.url.render_as_string(hide_password=False)
            background.begin(key, report.document, url, study, asked)
        answer = background.answer(key)
        if answer is None:
            return html.P("Other work waits already; try again in a minute."), True, False, key
        if not answer.done:
            return html.P("Simulating the newer requests …", className="caption"), False, True, key
        if answer.error is not None:
            return warning(answer.error), True, False, key
        return shown(answer.value), True, False, key


def _wrong(trace: str | None, rate: float | None, replicas: float | None) -> str | None:
    """Returns what is wrong with the form, None where nothing is."""
    if trace is None:
        return "Trace: none is chosen; upload one on the page New search."
    if rate is not None and rate <= 0:
        return f"Rate: {rate:g} is not allowed; allowed: a positive number of requests a second."
    if replicas is not None and (not 1 <= replicas <= MOST_REPLICAS or replicas != int(replicas)):
        return f"Replicas: {replicas:g} is not allowed; allowed: a whole number from 1 to {MOST_REPLICAS:,}."
    return None


def _outside(store: Store, study: str) -> str | None:
    """Returns what a study of this machine's own command line names that a service does not open, None where it is nothing."""
    try:
        inward.check(queries.study(store, study).request)
    except InputError as error:
        return str(error)
    return None


def shown(document: Mapping[str, Any]) -> Component:
    """Returns a report as the page shows it, the verdict first."""
    found = TypeAdapter(Drift).validate_python(document)
    stands = found.standing
    changed = f"Changed beyond sampling: {', '.join(found.drifted)}." if found.drifted else "No change beyond sampling."
    mark = badge("stands", "done") if stands.stands else badge("fell", "failed")
    notes = [*found.notes, *found.trace["notes"], *stands.notes]
    return html.Div(
        [
            html.P([mark, f" Trial {stands.trial} {stands.verdict}."], className="sentence"),
            html.P(changed),
            _loads(stands.loads),
            html.Ul([html.Li(line) for line in (*words.limits(stands), *_needs(stands.loads))]),
            html.H3("What changed"),
            _changes(found),
            html.Ul([html.Li(note) for note in notes], className="notes") if notes else None,
        ],
        className="spaced",
    )


def _loads(loads: tuple[Load, ...]) -> Component:
    rows: list[list[Content]] = []
    for load in loads:
        for bound in load.bounds:
            value = "no bound" if bound.value_s is None else seconds(bound.value_s)
            kept = badge("kept", "done") if bound.kept else badge("broken", "failed")
            rows.append(
                [load.name, number(load.rate_rps), str(load.replicas), spoken(bound.bound), value, seconds(bound.limit_s), kept]
            )
    names = ("load", "requests/s", "replicas", "bound", "now", "limit", "")
    return table([Cell(name) for name in names], rows, "The SLO under the newer traffic", numbers=(1, 2, 4, 5))


def _needs(loads: tuple[Load, ...]) -> Iterator[str]:
    for load in loads:
        if load.needed is None:
            yield f"{load.name}: {load.reason}"
            continue
        rent = "" if load.needed_usd_per_hour is None else f", {usd(load.needed_usd_per_hour)} an hour"
        yield f"{number(load.rate_rps)} req/s of the {load.name} take {count(load.needed, 'replica')}{rent}"


def _changes(found: Drift) -> Component:
    rows: list[list[Content]] = []
    for each in found.changes:
        now = ABSENT if each.name.endswith("_distance") else number(each.trace)
        mark = badge("changed", "infeasible") if each.beyond else None
        rows.append([each.name, number(each.study), now, _dash(words.change(each)), _dash(words.chance(each)), mark])
    names = ("traffic", "study", "trace", "change", "by chance", "")
    return table([Cell(name) for name in names], rows, "What changed in the traffic", numbers=(1, 2, 3, 4))


def _dash(told: str) -> str:
    return ABSENT if told == words.NONE else told
