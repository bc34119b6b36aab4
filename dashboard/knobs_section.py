"""The sections of a study's page about its knobs: which one matters, what each does alone, and all of them side by side."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from dash import Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component

from dashboard.axis import Axis, axis_of
from dashboard.explored import varied
from dashboard.figures import coordinates, marginal, shares
from dashboard.importance import importance
from dashboard.parts import chart, section
from dashboard.words import count
from db import queries, sampled
from db.rows import StudyRow
from db.sampled import Field
from db.session import Store

MOST_ROWS = 1_000
MOST_LINES = 400
CAPTION = (
    "The share of the objective's variance that each knob's settings explain by themselves, over all deployments with an answer, "
    "at their capacity. What knobs do only together is in none of the shares."
)
SHOWN = 4


def section_of(study: StudyRow) -> Component:
    """Returns the place of the sections, which are filled once the page is there; nothing where no knob is varied."""
    objectives = [{"label": axis_of(name, {}).brief, "value": name} for name in study.request["objectives"]]
    value = objectives[0]["value"]
    pick = dcc.Dropdown(id="study-objective", options=objectives, value=value, clearable=False, style={"minWidth": "240px"})
    asked = html.Div([html.Label("What it does to", htmlFor="study-objective"), pick], className="row")
    return html.Div(
        [
            section(
                "Which knob matters",
                asked,
                html.Div(id="study-importance"),
                caption=CAPTION,
            ),
            section(
                "All knobs side by side",
                html.Div(id="study-coordinates"),
                caption="A line is a deployment at its capacity, coloured by the objective chosen above. The legend hides.",
            ),
        ],
        hidden=not varied(study),
    )


def frame_of(store: Store, study: StudyRow) -> tuple[pd.DataFrame, int]:
    """Returns the settings of the varied knobs and the objectives of a study's trials, and how many trials have an answer.

    At most MOST_ROWS of them, evenly chosen.
    """
    fields = {name: Field(("deployment", name), "text") for name in varied(study)}
    fields |= {name: sampled.stored_value(name) for name in study.request["objectives"]}
    page = sampled.sample(store, study.id, fields, MOST_ROWS)
    frame = pd.DataFrame(page.rows, columns=list(fields))
    for name in varied(study):
        numbers = pd.to_numeric(frame[name], errors="coerce")
        frame[name] = numbers if len(frame) and numbers.notna().all() else frame[name].astype(str)
    return frame.astype(dict.fromkeys(study.request["objectives"], float)), page.total


def register(app: Dash, store: Callable[[], Store]) -> None:
    """Adds the filling of both sections, again whenever trials were scored or another objective is chosen."""

    @app.callback(
        Output("study-importance", "children"),
        Output("study-coordinates", "children"),
        Input("study-objective", "value"),
        Input("study-seen", "data"),
        State("study-id", "data"),
    )
    def fill(objective: str, seen: str, study_id: str) -> tuple[object, object]:
        study = queries.study(store(), study_id)
        frame, total = frame_of(store(), study)
        return important(study, frame, objective, total), side_by_side(study, frame, objective)


def important(study: StudyRow, frame: pd.DataFrame, objective: str, total: int) -> Component:
    """Returns the shares of all varied knobs, and the marginal plots of those that matter most."""
    found = importance(frame, varied(study), objective)
    if not found:
        return html.P("Too few deployments have an answer to tell.", className="caption")
    axis = axis_of(objective, {})
    rows = [(each.knob, each.share, f"{each.settings} settings") for each in found]
    drawing = shares.figure(rows, f"share of the variance of {axis.brief}")
    panels = [_panel(frame, each.knob, axis) for each in found[:SHOWN] if each.settings > 1]
    cut = "" if len(frame) >= total else f" {len(frame):,} of {count(total, 'deployment')}, evenly chosen."
    told = f"By setting: the mean, the 10th to 90th percentile, and the best.{cut}"
    bars = chart("study-shares", drawing, "Which knob matters")
    return html.Div([bars, html.P(told, className="caption"), html.Div(panels, className="pair")])


def _panel(frame: pd.DataFrame, knob: str, axis: Axis) -> Component:
    drawing = marginal.figure(frame, knob, knob, axis)
    return html.Div([html.H3(knob), chart(f"study-marginal-{knob}", drawing, f"{axis.short} by {knob}")], className="panel")


def side_by_side(study: StudyRow, frame: pd.DataFrame, objective: str) -> Component:
    """Returns the parallel coordinates of knobs and objectives."""
    known = frame.dropna(subset=[objective])
    if known.empty:
        return html.P("No deployment has an answer.", className="caption")
    columns = [(name, name.replace("max_num_", "").replace("_parallel_size", "")) for name in varied(study)]
    columns += [(name, axis_of(name, {}).brief) for name in study.request["objectives"]]
    # Evenly chosen again: more lines than this are a blur.
    few = known.iloc[:: -(-len(known) // MOST_LINES)]
    drawing = coordinates.figure(few, columns, axis_of(objective, {}))
    return chart("study-coordinates", drawing, "Knobs and objectives of every deployment")
