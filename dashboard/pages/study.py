"""A study: its answer, its frontier as it grows, its trials, and what was ruled out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dash import Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component

from dashboard.axis import Axis
from dashboard.figures import frontier, latency_curve
from dashboard.figures.theme import colors
from dashboard.frames import best_by_device, curves_frame, points_frame
from dashboard.pages import home
from dashboard.parts import Content, aria, badge, chart, facts, link, section, stacked, table, tiles
from dashboard.report.answer import answer_of
from dashboard.report.heading import heading_of
from dashboard.report.page import axes_of
from dashboard.report.refusals import refusals_of
from dashboard.report.tables import Cell, frontier_table
from dashboard.view import View
from db import queries
from db.rows import StudyRow, TrialPoint, TrialRow
from db.session import Store
from search import service

TITLE, PATH, NAV = "Study", "/studies/{study}", 0
REFRESH_MS = 1500
FRONTIER = "Each point is a deployment at a load. Nothing beats the solid points in both objectives; faint ones are beaten."
UNDER_WAY = ("queued", "running")


def layout(view: View) -> Component:
    """Returns the page of a study; while it runs, the page renews itself."""
    study = queries.study(view.store, view.params["study"])
    going = study.state in UNDER_WAY
    return html.Div(
        [
            dcc.Store(id="study-id", data=study.id),
            dcc.Store(id="study-seen", data=""),
            dcc.Interval(id="study-tick", interval=REFRESH_MS, disabled=not going),
            html.Div(body(view.store, study), id="study-body"),
        ]
    )


def body(store: Store, study: StudyRow) -> list[Content]:
    """Returns everything on the page that follows from what is stored now."""
    trials, points = queries.trials(store, study.id), queries.points(store, study.id)
    axes = axes_of(study)
    return [
        _head(store, study, trials),
        _answer(study, trials, points, axes),
        *_charts(study, trials, points, axes),
        _numbers(study, points, axes),
        _refused(study, trials),
    ]


def _head(store: Store, study: StudyRow, trials: Sequence[TrialRow]) -> Component:
    told = heading_of(study, trials)
    # Both are always there, since a callback listens to both.
    buttons = [
        html.Button("Cancel", id="study-cancel", type="button", hidden=study.state not in UNDER_WAY),
        html.Button("Go on", id="study-resume", type="button", hidden=study.state not in ("cancelled", "failed")),
    ]
    links = [
        html.A(kind.upper(), href=f"/api/v1/studies/{study.id}/export?format={kind}", className="button")
        for kind in ("csv", "json", "html")
    ]
    return html.Div(
        [
            html.Div(
                [
                    html.H1([html.Bdi(study.name), " ", badge(study.state)]),
                    html.Div([*buttons, link("Change and run", f"/new?clone={study.id}", "button"), *links], className="row"),
                ],
                className="row apart",
            ),
            html.P(f"{study.id}, {told.trials}" if told.trials else study.id, className="caption"),
            facts(told.facts),
            home.progress(store, study.id) if study.state == "running" else None,
        ]
    )


def _answer(study: StudyRow, trials: Sequence[TrialRow], points: Sequence[TrialPoint], axes: Sequence[Axis]) -> Component:
    told = answer_of(study, trials, points, axes)
    parts: list[Content] = [html.P(told.sentence, className="sentence")]
    if told.title:
        parts += [html.P([html.Strong(told.title), " ", html.Span(told.knobs)], className="choice"), tiles(told.tiles)]
    if told.ties:
        parts.append(html.Details([html.Summary(told.tied), html.Ul([html.Li(tie) for tie in told.ties])], className="ties"))
    if told.notes:
        parts.append(html.Ul([html.Li(note) for note in told.notes], className="notes"))
    return html.Section(parts, className="answer", **aria(label="Answer"))


def _charts(study: StudyRow, trials: Sequence[TrialRow], points: Sequence[TrialPoint], axes: Sequence[Axis]) -> list[Content]:
    if not points:
        return []
    frame = points_frame(points, axes)
    palette = colors(frame["device"])
    x, y = axes[0], axes[min(1, len(axes) - 1)]
    best = best_by_device(frame, x)
    shown: list[Content] = []
    if x.name != y.name:
        drawing = frontier.figure(frame, x, y, palette)
        shown.append(
            section(
                "The frontier",
                chart("frontier", drawing, f"{x.short} against {y.short}"),
                caption=FRONTIER,
            )
        )
    lines = curves_frame([trial for number in best["trial"] for trial in trials if trial.number == number and len(trial.curve) > 1])
    bound = next((axis for axis in axes if axis.unit == "s"), None)
    if bound is not None and not lines.empty:
        demand = (study.request.get("demand") or {}).get("rate_rps")
        shown.append(
            section(
                "Latency against load",
                chart("curves", latency_curve.figure(lines, bound, palette, demand), f"{bound.short} against the arrival rate"),
                caption="The best deployment of each device; a band is the interval of its capacity.",
            )
        )
    return shown


def _numbers(study: StudyRow, points: Sequence[TrialPoint], axes: Sequence[Axis]) -> Component | None:
    found = frontier_table(study, points, axes)
    if not found.lines:
        return None
    rows: list[list[Content]] = []
    for line in found.lines:
        name = html.Div(
            [
                link(html.Strong(line.title), f"/studies/{study.id}/trials/{line.trial}"),
                " ",
                badge("tied", "tie") if line.tied else None,
                html.Small(line.varied),
            ]
        )
        rows.append([str(line.place), name, *(html.Div(stacked(cell)) for cell in line.cells)])
    columns = [Cell("#"), Cell("Deployment"), *found.columns]
    return section("The frontier in numbers", table(columns, rows, "The frontier in numbers", range(3, len(columns))))


def _refused(study: StudyRow, trials: Sequence[TrialRow]) -> Component | None:
    found = refusals_of(study, trials)
    if not found:
        return None
    items = []
    for each in found:
        more = (
            html.Details([html.Summary(each.amount), html.Ul([html.Li(text) for text in each.deployments])])
            if each.deployments
            else html.Small(each.amount)
        )
        items.append(html.Li([badge(each.kind), " ", html.Span(each.reason, className="reason"), more]))
    return section("Ruled out", html.Ul(items, className="refusals"), caption="What has no answer, by reason.")


def register(app: Dash, store: Callable[[], Store]) -> None:
    """Adds the refresh while a study runs, and the buttons."""

    @app.callback(
        Output("study-body", "children"),
        Output("study-seen", "data"),
        Output("study-tick", "disabled"),
        Input("study-tick", "n_intervals"),
        State("study-id", "data"),
        State("study-seen", "data"),
        prevent_initial_call=True,
    )
    def refresh(ticks: int | None, study_id: str, seen: str) -> tuple[object, object, bool]:
        study = queries.study(store(), study_id)
        going = study.state in UNDER_WAY
        now = f"{study.state} {sum(queries.trial_counts(store(), study_id).values())}"
        return (no_update if now == seen else body(store(), study)), now, not going

    @app.callback(
        Output("study-tick", "disabled", allow_duplicate=True),
        Output("study-seen", "data", allow_duplicate=True),
        Input("study-cancel", "n_clicks"),
        Input("study-resume", "n_clicks"),
        State("study-id", "data"),
        prevent_initial_call=True,
    )
    def act(cancelled: int | None, resumed: int | None, study_id: str) -> tuple[object, object]:
        if not (cancelled or resumed):
            return no_update, no_update
        (service.cancel if ctx.triggered_id == "study-cancel" else service.resume)(store(), study_id)
        return False, ""
