"""Home: every study with its state, how far it is, and its best answer in a line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import get_args

from dash import Dash, Input, Output, dcc, html, no_update
from dash.development.base_component import Component

from dashboard import example
from dashboard.axis import axis_of
from dashboard.parts import SAID, Content, aria, badge, link, section, table, warning
from dashboard.report.heading import traffic
from dashboard.report.tables import Cell
from dashboard.view import View
from dashboard.words import ABSENT, count, deployment_title, number
from db import events, pages
from db.rows import StudyLine, StudyState
from db.session import Store
from simulator.errors import TrimtabError

TITLE, PATH, NAV = "Studies", "/", 1
STATES: tuple[StudyState, ...] = get_args(StudyState)
SHOWN = 50
REFRESH_MS = 2000


def layout(view: View) -> Component:
    """Returns the list of studies, newest first, as far as the words and the state that are looked for go."""
    words, state = view.query.get("q", ""), view.query.get("state", "")
    return html.Div(
        [
            html.Div([html.H1(TITLE), link("New search", "/new", "button main")], className="row apart"),
            html.Div(
                [
                    dcc.Input(id="home-words", type="search", value=words, debounce=0.4, placeholder="Name", className="grow"),
                    dcc.Dropdown(
                        id="home-state",
                        options=[{"label": each, "value": each} for each in STATES],
                        value=state or None,
                        placeholder="Any state",
                        style={"minWidth": "170px"},
                    ),
                ],
                className="row",
            ),
            html.Div(listed(view.store, words, state), id="home-list", **aria(live="polite")),
            dcc.Interval(id="home-tick", interval=REFRESH_MS),
        ]
    )


def listed(store: Store, words: str, state: str) -> Component:
    """Returns the table of studies, or what to do where there are none yet."""
    wanted = pages.Wanted(state=state if state in STATES else None, words=words.strip() or None)
    found = pages.studies(store, SHOWN, None, wanted)
    if not found and not words and not state:
        return _empty()
    if not found:
        return section("None", html.P("No study is like that."))
    columns = [Cell("Study"), Cell("State"), Cell("Best answer"), Cell("Trials"), Cell("Created")]
    return section("", table(columns, [_row(store, line) for line in found], "Studies", numbers=(3,)), name="studies")


def _empty() -> Component:
    return html.Section(
        [
            html.H2("Nothing has been searched yet"),
            html.P(
                "The example asks for the cheapest deployment of Llama-3.1-8B for chat, over four GPU SKUs. "
                "It needs no GPU and takes a few minutes; you can watch it."
            ),
            html.Button("Run the example", id="home-example", className="main", type="button"),
        ],
        className="empty",
    )


def _row(store: Store, line: StudyLine) -> list[Content]:
    study = line.study
    name = html.Div([link(html.Bdi(study.name), f"/studies/{study.id}"), html.Small(_asked(line))])
    total = sum(line.trials.values())
    return [name, html.Div([badge(study.state), _progress(store, line)]), _best(line), f"{total:,}", _when(study.created_at)]


def _asked(line: StudyLine) -> str:
    request = line.study.request
    return f"{request.get('model')} · {traffic(request.get('workload') or {})}"


def _progress(store: Store, line: StudyLine) -> Component | None:
    """Returns how far a running study is, as it last said."""
    if line.study.state != "running":
        return None
    return progress(store, line.study.id)


def progress(store: Store, study_id: str) -> Component:
    """Returns a bar and a line on how far a study is."""
    said = events.latest(store, study_id, "progress")
    if said is None or not said.document.get("total"):
        return html.Small("begins")
    now = said.document
    bar = html.Div(html.I(style={"width": f"{100 * now['done'] / now['total']:.0f}%"}), className="progress")
    return html.Div([bar, html.Small(f"{now['phase']}: {now['done']:,} of {count(now['total'], 'trial')}")])


def _best(line: StudyLine) -> Content:
    if line.best is None:
        return str((line.study.summary or {}).get("sentence") or ABSENT)
    names = line.study.request.get("objectives") or ()
    point, deployment = line.best.point, line.best.trial.deployment
    values = [axis_of(name, {}) for name in names]
    told = ", ".join(f"{axis.short} {axis.text(point.objectives.get(axis.name))}" for axis in values)
    return html.Div([deployment_title(deployment), html.Small(f"{told} at {number(point.rate_rps)} requests/s")])


def _when(moment: datetime) -> Content:
    ago = (datetime.now(UTC) - moment).total_seconds()
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if ago >= size:
            return html.Span(f"{count(int(ago // size), unit)} ago", title=f"{moment:%Y-%m-%d %H:%M} UTC")
    return html.Span("just now", title=f"{moment:%Y-%m-%d %H:%M} UTC")


def register(app: Dash, store: Callable[[], Store]) -> None:
    """Adds the refresh, the search and the example."""

    @app.callback(
        Output("home-list", "children"),
        Input("home-tick", "n_intervals"),
        Input("home-words", "value"),
        Input("home-state", "value"),
        prevent_initial_call=True,
    )
    def refresh(ticks: int | None, words: str | None, state: str | None) -> Component:
        return listed(store(), words or "", state or "")

    @app.callback(
        Output("url", "pathname", allow_duplicate=True),
        Output(SAID, "children", allow_duplicate=True),
        Input("home-example", "n_clicks"),
        prevent_initial_call=True,
    )
    def run_example(clicks: int | None) -> tuple[object, object]:
        if not clicks:
            return no_update, no_update
        try:
            return f"/studies/{example.submit(store())}", ""
        except TrimtabError as error:
            return no_update, warning(str(error))
