"""New search: a form over the catalog and the YAML of the same request beside it; either may be edited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component

from dashboard import example, new_fields, traffic_preview
from dashboard import request_form as form
from dashboard.new_fields import id_of, wrong_id
from dashboard.new_step import PARTS, answer, broken, edited, elsewhere, in_fold, kept
from dashboard.parts import aria, section
from dashboard.request_told import ELSEWHERE, by_field, checked, cores, rents, sentences, size_of, workload_of
from dashboard.trace_choices import trace_choices
from dashboard.view import View
from dashboard.words import usd
from db import queries
from db.session import Store
from search import inward, service, uploads
from search.asking import allowed
from search.check import check
from search.request import SearchRequest
from simulator import catalog
from simulator.errors import InputError, TrimtabError

TITLE, PATH, NAV = "New search", "/new", 2
BY_FIELD = {id_of(name): name for name in form.FIELDS}


def layout(view: View) -> Component:
    """Returns the form of the YAML in the address, of the study that `clone` names, or of the example, with `model` in it."""
    text, broken = view.query.get("yaml"), ""
    document: form.Document = dict(example.REQUEST)
    told = None
    if view.query.get("clone"):
        study = queries.study(view.store, view.query["clone"])
        document, told = pruned(study.request), f"As {study.name} was asked; change what should differ."
    if view.query.get("model"):
        catalog.model(view.query["model"])
        document = {**document, "model": view.query["model"], "name": view.query["model"].rpartition("/")[2]}
    if text is not None:
        try:
            document = form.document_of(text)
        except InputError as error:
            broken = str(error)
    found = checked(document)
    values = form.read(document)
    shown = form.yaml_of(document) if text is None else text
    wrong = {**found.wrong, **({ELSEWHERE: broken} if broken else {})}
    return html.Div(
        [
            html.H1(TITLE),
            html.P(told, className="caption") if told else None,
            dcc.Store(id="new-request", data=document if found.request else None),
            dcc.Store(id="new-workload", data=document.get("workload")),
            dcc.Store(id="new-address"),
            dcc.Store(id="new-uploaded"),
            html.Div([html.Div(_groups(view.store, values, wrong)), _beside(document, shown, wrong)], className="asked"),
        ]
    )


def pruned(request: Mapping[str, Any]) -> form.Document:
    """Returns a stored request without the fields that say nothing, as whoever wrote it might have."""

    def without(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: without(inner) for name, inner in value.items() if inner is not None}
        return value

    found: form.Document = without({name: value for name, value in request.items() if name != "space"})
    kept = {**found, "space": dict(request.get("space") or {})}
    return {name: kept[name] for name in request if name in kept}


def _groups(store: Store, values: form.Values, wrong: Mapping[str, str]) -> list[Component]:
    fold = html.Details(
        [
            html.Summary("Advanced: knobs of the engine, and how to search"),
            html.P(
                "Several values are tried each; a knob left empty takes the engine's default. "
                "Numbers as 512, 2048, as 1..8 step 1, or as 512..8192 log2.",
                className="caption",
            ),
            html.Div(new_fields.knob_group(values, wrong), className="fields"),
        ],
        id="new-fold",
        className="fold",
        open=in_fold(wrong),
    )
    return [
        section("Model", _fields(new_fields.model_group(values, wrong))),
        section(
            "Traffic",
            _fields([new_fields.origin_group(values, wrong), new_fields.rate_field(values, wrong)]),
            _part("preset", values, [new_fields.preset_part(values, wrong)]),
            _part("trace", values, new_fields.trace_part(values, wrong, trace_choices(store))),
            _part("numbers", values, new_fields.length_part(values, wrong), "three"),
            html.Div(id="new-preview", className="preview"),
        ),
        section(
            "SLO", _fields(new_fields.slo_group(values, wrong)), caption="Each limit in seconds; a latency without one is free."
        ),
        section(
            "Hardware and prices",
            _fields(new_fields.money_group(values, wrong), "three"),
            html.P(id="new-rents", className="caption"),
        ),
        section("Objectives and budget", _fields(new_fields.goal_group(values, wrong)), fold),
    ]


def _fields(fields: list[Component], more: str = "") -> Component:
    return html.Div(fields, className=f"fields {more}".strip())


def _part(kind: str, values: form.Values, fields: list[Component], more: str = "") -> Component:
    return html.Div(_fields(fields, more), id=f"new-part-{kind}", hidden=values["traffic"] != kind)


def _beside(document: Mapping[str, Any], text: str, wrong: Mapping[str, str]) -> Component:
    return html.Aside(
        [
            html.Div(
                [
                    html.P(id="new-size", className="size", **aria(live="polite")),
                    html.P(id="new-time", className="caption"),
                    html.Button("Search", id="new-submit", type="button", className="main"),
                    html.Div(elsewhere(wrong), id="new-wrong", **aria(live="assertive")),
                ],
                className="run",
            ),
            html.Div(
                [
                    html.Label("The request as YAML", htmlFor="new-yaml"),
                    dcc.Textarea(id="new-yaml", value=text, spellCheck=False, wrap="off", rows=24, className="yaml"),
                    html.Div(kept(document), id="new-kept"),
                ]
            ),
        ],
        className="beside",
        **aria(label="The request"),
    )


def register(app: Dash, store: Callable[[], Store]) -> None:
    """Adds what keeps form and YAML in step, the preview, the upload and the submit."""
    _in_step(app)
    _told(app, store)
    _sent(app, store)
    for function, parts in {
        "addressed": (Output("new-address", "id"), Input("new-address", "data")),
        "uploaded": (Output("new-uploaded", "data"), Input("new-upload", "contents"), State("new-upload", "filename")),
    }.items():
        named = ClientsideFunction("study" if function == "addressed" else "create", function)
        app.clientside_callback(named, *parts, prevent_initial_call=True)  # type: ignore[no-untyped-call]
    label = (Output("new-upload", "id"), Input("new-workload", "data"))
    app.clientside_callback(ClientsideFunction("create", "labelled"), *label)  # type: ignore[no-untyped-call]


def _in_step(app: Dash) -> None:
    @app.callback(
        output={
            "values": {name: Output(id_of(name), "value") for name in form.FIELDS},
            "text": Output("new-yaml", "value"),
            "wrong": {name: Output(wrong_id(name), "children") for name in new_fields.WITH_LINE},
            "hidden": {kind: Output(f"new-part-{kind}", "hidden") for kind in PARTS},
            "more": {
                "elsewhere": Output("new-wrong", "children"),
                "kept": Output("new-kept", "children"),
                "request": Output("new-request", "data"),
                "workload": Output("new-workload", "data"),
                "address": Output("new-address", "data"),
                "fold": Output("new-fold", "open"),
            },
        },
        inputs={
            "values": {name: Input(id_of(name), "value") for name in form.FIELDS},
            "text": Input("new-yaml", "value"),
            "workload": State("new-workload", "data"),
        },
        prevent_initial_call=True,
    )
    def in_step(values: dict[str, Any], text: str | None, workload: Any) -> dict[str, Any]:
        changed = {BY_FIELD[each["prop_id"].partition(".")[0]] for each in ctx.triggered if each["prop_id"] != "new-yaml.value"}
        try:
            document = edited(text or "", {name: values[name] for name in changed}, values)
        except InputError as error:
            return broken(str(error))
        new = form.yaml_of(document) if changed else text or ""
        return answer(document, new, values, workload, by_form=bool(changed))


def _told(app: Dash, store: Callable[[], Store]) -> None:
    @app.callback(
        Output("new-size", "children"),
        Output("new-time", "children"),
        Output("new-rents", "children"),
        Output("new-submit", "disabled"),
        Input("new-request", "data"),
    )
    async def size(document: dict[str, Any] | None) -> tuple[object, ...]:
        found = None if document is None else checked(document).request
        if found is None:
            return "Not a request yet", "What is wrong is told at its field.", no_update, True
        first, second = sentences(await asyncio.to_thread(size_of, found), cores())
        book = found.price_book
        cheapest = {} if book is None else rents(book)
        devices = next(each.values for each in found.build_space().dimensions if each.name == "device")
        told = ", ".join(f"{name} {usd(cheapest[name])}" for name in devices if name in cheapest)
        return first, second, f"A GPU and hour from: {told}." if told else "", False

    @app.callback(Output("new-preview", "children"), Input("new-workload", "data"))
    async def previewed(workload: Any) -> object:
        found = workload_of({"workload": workload})
        return None if found is None else await asyncio.to_thread(traffic_preview.preview, store(), found)

    @app.callback(
        Output("new-trace", "options"),
        Output("new-trace", "value", allow_duplicate=True),
        Output("new-upload-said", "children"),
        Input("new-uploaded", "data"),
        prevent_initial_call=True,
    )
    def uploaded(answer: dict[str, Any] | None) -> tuple[object, ...]:
        if not answer:
            return no_update, no_update, no_update
        if answer.get("error"):
            return no_update, no_update, answer["error"]
        return trace_choices(store()), answer["trace"], ""


def _sent(app: Dash, store: Callable[[], Store]) -> None:
    @app.callback(
        output={
            "href": Output("url", "href", allow_duplicate=True),
            "wrong": {name: Output(wrong_id(name), "children", allow_duplicate=True) for name in new_fields.WITH_LINE},
            "elsewhere": Output("new-wrong", "children", allow_duplicate=True),
            "fold": Output("new-fold", "open", allow_duplicate=True),
        },
        inputs={"clicks": Input("new-submit", "n_clicks"), "text": State("new-yaml", "value")},
        running=[(Output("new-submit", "disabled"), True, False)],
        prevent_initial_call=True,
    )
    async def send(clicks: int | None, text: str | None) -> dict[str, Any]:
        kept = {"href": no_update, "fold": no_update, "wrong": dict.fromkeys(new_fields.WITH_LINE, no_update)}
        if not clicks:
            return {**kept, "elsewhere": no_update}
        try:
            return {**kept, "href": f"/studies/{await asyncio.to_thread(submitted, store(), text or '')}", "elsewhere": None}
        except InputError as error:
            wrong = by_field([(error.field, error.value, error.allowed)])
        except TrimtabError as error:
            wrong = {ELSEWHERE: str(error)}
        lines = {name: wrong.get(name, "") for name in new_fields.WITH_LINE}
        return {**kept, "wrong": lines, "elsewhere": elsewhere(wrong), "fold": True if in_fold(wrong) else no_update}


def submitted(store: Store, text: str) -> str:
    """Returns the id of the study that a YAML text asks for, now waiting for a worker; raises what there is to tell of it."""
    caller = allowed("submit")
    document = form.document_of(text)
    inward.check(document)
    request = SearchRequest.parse(document)
    uploads.fetch(store, request.workload)
    check(request)
    return service.submit(store, request, key_id=caller.key_id).study.id
