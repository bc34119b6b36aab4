"""A study: its answer, its frontier as it grows, its trials, and what was ruled out."""

from __future__ import annotations

from collections.abc import Callable

from dash import Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component

from dashboard import drift_section, frontier_section, knobs_section, trials_section
from dashboard.background import SHARED
from dashboard.pages import home
from dashboard.parts import SAID, Content, aria, badge, facts, link, tiles, warning
from dashboard.report.answer import answer_of
from dashboard.report.heading import heading_of
from dashboard.study_rest import Found, read, rest
from dashboard.view import View
from dashboard.words import count
from db import queries
from db.session import Store
from search import service
from search.asking import allowed
from simulator.errors import TrimtabError

TITLE, PATH, NAV = "Study", "/studies/{study}", 0
REFRESH_MS = 1500
UNDER_WAY = ("queued", "running")


def layout(view: View) -> Component:
    """Returns the page of a study; while it runs, the page renews what changes."""
    store = view.store
    study = queries.study(store, view.params["study"])
    going = study.state in UNDER_WAY
    found = read(store, study)
    return html.Div(
        [
            dcc.Store(id="study-id", data=study.id),
            dcc.Store(id="study-seen", data=found.seen),
            dcc.Interval(id="study-tick", interval=REFRESH_MS, disabled=not going),
            html.Div(_head(store, found), id="study-head"),
            html.Div(_answer(found), id="study-answer", **aria(live="polite")),
            frontier_section.section_of(view, study),
            html.Div(rest(store, found), id="study-rest"),
            knobs_section.section_of(study),
            trials_section.section_of(study),
            drift_section.section_of(store),
        ]
    )


def _head(store: Store, found: Found) -> list[Content]:
    study = found.study
    told = heading_of(study, [])
    kinds = (("done", "scored"), ("infeasible", "infeasible"), ("failed", "failed"))
    states = ", ".join(f"{found.counts[state]:,} {word}" for state, word in kinds if found.counts.get(state))  # type: ignore[index, call-overload]
    trials = f"{count(sum(found.counts.values()), 'deployment')}: {states}" if states else ""
    # Both are always there, since a callback listens to both.
    buttons = [
        html.Button("Cancel", id="study-cancel", type="button", hidden=study.state not in UNDER_WAY),
        html.Button("Go on", id="study-resume", type="button", hidden=study.state not in ("cancelled", "failed")),
    ]
    links = [
        html.A(kind.upper(), href=f"/api/v1/studies/{study.id}/export?format={kind}", className="button")
        for kind in ("csv", "json", "html")
    ]
    return [
        html.Div(
            [
                html.H1([html.Bdi(study.name), " ", badge(study.state)]),
                html.Div(
                    [
                        *buttons,
                        link("Change and run", f"/new?clone={study.id}", "button"),
                        link("Compare", f"/compare?items={study.id}", "button"),
                        link("Plan", f"/plan?study={study.id}", "button"),
                        *links,
                    ],
                    className="row",
                ),
            ],
            className="row apart",
        ),
        html.P(f"{study.id}, {trials}" if trials else study.id, className="caption"),
        facts(told.facts),
        home.progress(store, study.id) if study.state == "running" else None,
    ]


def _answer(found: Found) -> Component:
    study = found.study
    told = answer_of(study, [], found.points, found.axes)
    sentence = _nothing(found) or told.sentence
    parts: list[Content] = [html.P(sentence, className="sentence")]
    if told.title:
        best = found.points[0].trial
        name = link(html.Strong(told.title), f"/studies/{study.id}/trials/{best.number}")
        parts += [html.P([name, " ", html.Span(told.knobs)], className="choice"), tiles(told.tiles)]
    if told.ties:
        parts.append(html.Details([html.Summary(told.tied), html.Ul([html.Li(tie) for tie in told.ties])], className="ties"))
    if told.notes:
        parts.append(html.Ul([html.Li(note) for note in told.notes], className="notes"))
    return html.Section(parts, className="answer", **aria(label="Answer"))


def _nothing(found: Found) -> str:
    """Returns why an ended study has no answer; empty where it has one, or tells of it itself."""
    study = found.study
    if found.points or study.state not in ("done", "infeasible") or (study.summary or {}).get("sentence"):
        return ""
    most = found.reasons[0].reason if found.reasons else None
    told = f" The most frequent reason: {most}." if most else ""
    return f"None of {count(sum(found.counts.values()), 'deployment')} tried serves this traffic within the SLO.{told}"


def register(app: Dash, store: Callable[[], Store]) -> None:
    """Adds the refresh while a study runs, and the buttons."""

    frontier_section.register(app, store)
    knobs_section.register(app, store)
    trials_section.register(app, store)
    drift_section.register(app, store, SHARED)

    @app.callback(
        Output("study-head", "children"),
        Output("study-answer", "children"),
        Output("study-rest", "children"),
        Output("study-seen", "data"),
        Output("study-tick", "disabled"),
        Input("study-tick", "n_intervals"),
        State("study-id", "data"),
        State("study-seen", "data"),
        prevent_initial_call=True,
    )
    def refresh(ticks: int | None, study_id: str, seen: str) -> tuple[object, ...]:
        study = queries.study(store(), study_id)
        found = read(store(), study)
        going = study.state in UNDER_WAY
        if found.seen == seen:
            return (_head(store(), found) if going else no_update), no_update, no_update, no_update, not going
        return _head(store(), found), _answer(found), rest(store(), found), found.seen, not going

    @app.callback(
        Output("study-tick", "disabled", allow_duplicate=True),
        Output("study-seen", "data", allow_duplicate=True),
        Output(SAID, "children", allow_duplicate=True),
        Input("study-cancel", "n_clicks"),
        Input("study-resume", "n_clicks"),
        State("study-id", "data"),
        prevent_initial_call=True,
    )
    def act(cancelled: int | None, resumed: int | None, study_id: str) -> tuple[object, object, object]:
        if not (cancelled or resumed):
            return no_update, no_update, no_update
        try:
            asking = allowed("submit")
            if ctx.triggered_id == "study-cancel":
                service.cancel(store(), study_id)
            else:
                service.resume(store(), study_id, key_id=asking.key_id)
        except TrimtabError as error:
            return no_update, no_update, warning(str(error))
        return False, "", ""
