"""The section of a study's page with its trials: sorted, filtered and cut by the database, sent as they are scrolled to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

import dash_ag_grid as grid
from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from dashboard.axis import axis_of
from dashboard.explored import varied
from dashboard.parts import section
from dashboard.words import spoken
from db import queries, sampled
from db.rows import StudyRow
from db.sampled import Condition, Field, Operation
from db.session import Store

BLOCK = 100
MOST_SORTS = 3
OPERATIONS: tuple[Operation, ...] = get_args(Operation)
Column = tuple[str, Field, Mapping[str, str] | None]
EVERY = {"sortable": True, "resizable": True, "flex": 1, "wrapHeaderText": True, "autoHeaderHeight": True}
# Titles break between words, and after the underscores of a knob's name; a column is as wide as the longest part, its filter
# and its margins, and one of texts as wide as most of them.
BREAK = "\u200b"
LETTER_PX, BESIDE_PX, TEXT_PX = 8, 60, 140
# Three significant digits: more would be read as more than is known.
DIGITS = {"function": "params.value == null ? '\u2013' : d3.format(',.3~r')(params.value)"}
WHOLE = {"function": "params.value == null ? '\u2013' : d3.format(',~r')(params.value)"}
FIXED: dict[str, Column] = {
    "number": ("Trial", Field(("number",)), WHOLE),
    "capacity_rps": ("Capacity (requests/s)", Field(("capacity_rps",)), DIGITS),
    "binding": ("What binds it", Field(("binding",), "text"), None),
    "state": ("State", Field(("state",), "text"), None),
}
MORE: dict[str, Column] = {
    "usd_per_hour": ("$ an hour", Field(("metrics", "usd_per_hour")), DIGITS),
    "mfu": ("MFU", Field(("metrics", "mfu")), DIGITS),
    "kv_utilization": ("KV in use", Field(("metrics", "kv_utilization")), DIGITS),
    "mean_batch_size": ("Mean batch", Field(("metrics", "mean_batch_size")), DIGITS),
    "preemptions": ("Preemptions", Field(("metrics", "preemptions")), WHOLE),
    "requests": ("Requests a run", Field(("fidelity",)), WHOLE),
    "reason": ("Why it has no answer", Field(("reason",), "text"), None),
}


def columns_of(study: StudyRow) -> dict[str, Column]:
    """Returns the columns that a study's trials may be listed with: title, where the value lies, and how it is shown."""
    found: dict[str, Column] = dict(list(FIXED.items())[:1])
    for name in dict.fromkeys(["device", *varied(study)]):
        found[name] = (name, Field(("deployment", name), _kind(study, name)), None if _kind(study, name) == "text" else WHOLE)
    for name in study.request["objectives"]:
        axis = axis_of(name, {})
        found[name] = (f"{axis.brief} ({axis.unit})" if axis.unit == "s" else axis.brief, sampled.stored_value(name), DIGITS)
    found |= {name: column for name, column in FIXED.items() if name not in found}
    return found | {name: value for name, value in MORE.items() if name not in found}


def _kind(study: StudyRow, name: str) -> sampled.Kind:
    values = (study.request.get("space") or {}).get(name)
    plain = values if isinstance(values, list) else [values]
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in plain)
    return "number" if numbers or isinstance(values, Mapping) or name == "replicas" else "text"


def section_of(study: StudyRow) -> Component:
    """Returns the section: the choice of columns, the grid, and the download of everything."""
    columns = columns_of(study)
    sized = bool(study.request.get("demand"))
    shown = shown_of(study)
    pick = dcc.Dropdown(
        id="study-columns",
        options=[{"label": title, "value": name} for name, (title, _, _) in columns.items()],
        value=shown,
        multi=True,
        clearable=False,
    )
    table = grid.AgGrid(
        id="study-grid",
        columnDefs=definitions(study, shown),
        defaultColDef=EVERY,
        rowModelType="infinite",
        dashGridOptions={
            "cacheBlockSize": BLOCK,
            "maxBlocksInCache": 20,
            "infiniteInitialRowCount": 1,
            "rowSelection": {"mode": "singleRow", "checkboxes": False, "enableClickSelection": True},
            "domLayout": "normal",
            "multiSortKey": "ctrl",
            "suppressCellFocus": False,
        },
        style={"height": "430px"},
    )
    export = html.A("Download all as CSV", href=f"/api/v1/studies/{study.id}/export?format=csv", className="button")
    head = html.Div([html.Details([html.Summary("Columns"), pick], className="grow"), export], className="row apart")
    return section(
        "Trials",
        head,
        html.Div(table, className="grid"),
        html.P(id="study-rows", className="caption"),
        caption=f"Every deployment that was tried, at {'the demand' if sized else 'its capacity'}. Click a row to open it.",
    )


def shown_of(study: StudyRow) -> list[str]:
    """Returns the columns that are shown until others are chosen; a fleet that was sized for a demand has no capacity."""
    left_out = {*MORE, *(("capacity_rps",) if study.request.get("demand") else ())} - set(study.request["objectives"])
    return [name for name in columns_of(study) if name not in left_out]


def definitions(study: StudyRow, shown: list[str]) -> list[dict[str, Any]]:
    """Returns the grid's columns, those that are not shown hidden."""
    found = []
    for name, (title, field, format_) in columns_of(study).items():
        kind = "agTextColumnFilter" if field.kind == "text" else "agNumberColumnFilter"
        options = ["contains", "equals"] if field.kind == "text" else ["equals", "lessThan", "greaterThan", "inRange"]
        about = {"filterOptions": options, "maxNumConditions": 1, "buttons": ["apply", "reset"]}
        column: dict[str, Any] = {"field": name, "headerName": title.replace("_", f"_{BREAK}"), "hide": name not in shown}
        column |= {"filter": kind, "filterParams": about, "minWidth": _least_px(title, field)}
        column |= {"valueFormatter": format_} if format_ else {}
        column |= {"type": "rightAligned"} if field.kind == "number" else {}
        found.append(column)
    return found


def _least_px(title: str, field: Field) -> int:
    longest = max(len(part) for part in title.replace("_", "_ ").split())
    return max(LETTER_PX * longest + BESIDE_PX, TEXT_PX if field.kind == "text" else 0)


def rows_of(store: Store, study: StudyRow, request: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the rows that the grid asks for, and how many there are; what it cannot have asked for is left out."""
    columns = columns_of(study)
    fields = {name: field for name, (_, field, _) in columns.items()}
    order = [(each["colId"], each["sort"] == "asc") for each in request.get("sortModel") or [] if each.get("colId") in fields]
    conditions = [
        condition
        for name, model in (request.get("filterModel") or {}).items()
        if name in fields and (condition := _condition(fields[name], model)) is not None
    ]
    begin = max(int(request.get("startRow") or 0), 0)
    end = min(int(request.get("endRow") or begin + BLOCK), begin + 5 * BLOCK)
    page = sampled.page(store, study.id, fields, (begin, end), order[:MOST_SORTS], conditions)
    for row in page.rows:
        row["binding"] = spoken(row["binding"]) if row.get("binding") else row.get("binding")
    return {"rowData": page.rows, "rowCount": page.total}


def _condition(field: Field, model: Mapping[str, Any]) -> Condition | None:
    operation = next((each for each in OPERATIONS if each == model.get("type")), None)
    values = [model[key] for key in ("filter", "filterTo") if model.get(key) is not None]
    if operation is None or not values or (operation == "inRange" and len(values) < 2):
        return None
    return Condition(field, operation, tuple(values))


def register(app: Dash, store: Callable[[], Store]) -> None:
    """Adds the rows, the choice of columns, and what a click on a row opens."""

    @app.callback(
        Output("study-grid", "getRowsResponse"),
        Output("study-rows", "children"),
        Input("study-grid", "getRowsRequest"),
        State("study-id", "data"),
        prevent_initial_call=True,
    )
    def rows(request: dict[str, Any] | None, study_id: str) -> tuple[object, object]:
        if request is None:
            return no_update, no_update
        found = rows_of(store(), queries.study(store(), study_id), request)
        return found, f"{found['rowCount']:,} trials"

    @app.callback(
        Output("study-grid", "columnDefs"),
        Input("study-columns", "value"),
        State("study-id", "data"),
        prevent_initial_call=True,
    )
    def chosen(shown: list[str] | None, study_id: str) -> object:
        return definitions(queries.study(store(), study_id), shown or ["number"])

    @app.callback(
        Output("url", "pathname", allow_duplicate=True),
        Input("study-grid", "selectedRows"),
        State("study-id", "data"),
        prevent_initial_call=True,
    )
    def opened(selected: list[dict[str, Any]] | None, study_id: str) -> object:
        return f"/studies/{study_id}/trials/{selected[0]['number']}" if selected else no_update
