"""New search: a form over the catalog and the YAML of the same request beside it; either may be edited."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component

from dashboard import example, new_fields, traffic_preview
from dashboard import request_form as form
from dashboard.new_fields import id_of, wrong_id
from dashboard.parts import Content, aria, section, warning
from dashboard.request_told import ELSEWHERE, Checked, by_field, checked, cores, rents, sentences, size_of, workload_of
from dashboard.view import View
from dashboard.words import usd
from db import queries, traces
from db.session import Store
from simulator import catalog
from simulator.errors import InputError

TITLE, PATH, NAV = "New search", "/new", 2
PARTS = ("preset", "trace", "numbers")
TRACES = 100
# Addresses of more characters are refused by some proxies; what is longer is not kept in one.
LONGEST_ADDRESS = 6000
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
            dcc.Store(id="new-send"),
            dcc.Store(id="new-sent"),
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
        open=_in_fold(wrong),
    )
    return [
        section("Model", _fields(new_fields.model_group(values, wrong))),
        section(
            "Traffic",
            new_fields.origin_group(values, wrong),
            _part("preset", values, [new_fields.preset_part(values, wrong)]),
            _part("trace", values, new_fields.trace_part(values, wrong, trace_options(store))),
            _part("numbers", values, new_fields.length_part(values, wrong), "three"),
            _fields([new_fields.rate_field(values, wrong)]),
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
                    html.Div(_elsewhere(wrong), id="new-wrong", **aria(live="assertive")),
                ],
                className="run",
            ),
            html.Div(
                [
                    html.Label("The request as YAML", htmlFor="new-yaml"),
                    dcc.Textarea(id="new-yaml", value=text, spellCheck=False, wrap="off", rows=24, className="yaml"),
                    html.Div(_kept(document), id="new-kept"),
                ]
            ),
        ],
        className="beside",
        **aria(label="The request"),
    )


def _elsewhere(wrong: Mapping[str, str]) -> Content:
    if wrong.get(ELSEWHERE):
        return warning(wrong[ELSEWHERE])
    count = len(wrong)
    return html.P(f"{count} field{'s' if count > 1 else ''} to mend, marked in the form.", className="wrong") if wrong else None


def _kept(document: Mapping[str, Any]) -> Content:
    beyond = form.not_shown(document)
    if not beyond:
        return None
    return html.P(["Kept as it is, since the form has no field for it: ", html.Code(", ".join(beyond))], className="caption")


def _in_fold(wrong: Mapping[str, str]) -> bool:
    folded = {"engine", "sampler", "seed", *(f"knob.{name}" for name in form.KNOBS if name not in new_fields.FRONT)}
    return any(name in folded for name in wrong)


def trace_options(store: Store) -> list[dict[str, str]]:
    """Returns the uploaded traces, newest first, with how many requests are in each."""
    return [
        {"label": f"{row.name}: {row.summary['requests']:,} requests", "value": f"sha256:{row.sha256}"}
        for row in traces.listed(store, TRACES)
    ]


def edited(text: str, changed: Mapping[str, Any], values: Mapping[str, Any]) -> form.Document:
    """Returns the document after some fields of the form have changed; raises InputError while the YAML is broken."""
    document = form.document_of(text)
    told = {name: clean(name, value) for name, value in changed.items()}
    if "traffic" in told:
        told |= {name: values[name] for name in form.TRAFFIC if name not in told}
    return form.write(document, told)


def clean(name: str, value: Any) -> Any:
    """Returns what a control sent as `request_form` has it: whole numbers as such, no list that is None."""
    if isinstance(value, float) and value == int(value) and not name.startswith("slo."):
        return int(value)
    if value is None and (name == "objectives" or name.startswith("knob.")):
        return [] if name == "objectives" or form.is_chosen(name.removeprefix("knob.")) else ""
    return value


def register(app: Dash, store: Callable[[], Store]) -> None:
    """Adds what keeps form and YAML in step, the preview, the upload and the submit."""
    _in_step(app)
    _told(app, store)
    _sent(app, store)
    for function, parts in {
        "addressed": (Output("new-address", "id"), Input("new-address", "data")),
        "uploaded": (Output("new-uploaded", "data"), Input("new-upload", "contents"), State("new-upload", "filename")),
        "sent": (Output("url", "href", allow_duplicate=True), Output("new-sent", "data"), Input("new-send", "data")),
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
            return _broken(str(error))
        new = form.yaml_of(document) if changed else text or ""
        return _answer(document, new, values, workload, by_form=bool(changed))


def _broken(line: str) -> dict[str, Any]:
    """Returns an answer that changes nothing but what is said; nothing can be sent."""
    more = dict.fromkeys(("kept", "workload", "address", "fold"), no_update)
    return {
        "values": dict.fromkeys(form.FIELDS, no_update),
        "text": no_update,
        "wrong": dict.fromkeys(new_fields.WITH_LINE, no_update),
        "hidden": dict.fromkeys(PARTS, no_update),
        "more": {**more, "elsewhere": warning(line), "request": None},
    }


def _answer(document: form.Document, text: str, values: Mapping[str, Any], workload: Any, by_form: bool) -> dict[str, Any]:
    found: Checked = checked(document)
    now = form.read(document)
    plain: dict[str, Any] = json.loads(json.dumps(document, default=str))
    work = plain.get("workload")
    return {
        "values": {
            # What the browser has in a list of choices it would take away again unless it is one of them.
            name: no_update if by_form or clean(name, values[name]) == now[name] or not _is_choice(name, now) else now[name]
            for name in form.FIELDS
        },
        "text": text if by_form else no_update,
        "wrong": {name: found.wrong.get(name, "") for name in new_fields.WITH_LINE},
        "hidden": {kind: now["traffic"] != kind for kind in PARTS},
        "more": {
            "elsewhere": _elsewhere(found.wrong),
            "kept": _kept(document),
            "request": plain if found.request is not None else None,
            "workload": no_update if work == workload else work,
            "address": {"yaml": text} if len(text) < LONGEST_ADDRESS else {},
            "fold": True if _in_fold(found.wrong) else no_update,
        },
    }


def _is_choice(name: str, now: form.Values) -> bool:
    """Returns whether a control can show the value that the YAML has."""
    known = _known(name)
    given = now[name] if isinstance(now[name], list) else [now[name]]
    return known is None or all(each in known for each in given if each is not None)


def _known(name: str) -> tuple[str, ...] | None:
    kinds = {"model": "models", "engine": "engines", "prices": "prices", "preset": "workloads"}
    kinds |= {"knob.device": "devices", "knob.scheduler": "schedulers", "knob.router": "routers"}
    if name in kinds:
        return catalog.names(kinds[name])
    if name in ("objectives", "sampler"):
        return new_fields.names_of(name)
    if name == "traffic":
        return form.ORIGINS[:-1]
    knob = name.removeprefix("knob.")
    return form.choices(knob) if knob != name and form.is_chosen(knob) else None


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
        return trace_options(store()), answer["trace"], ""


def _sent(app: Dash, store: Callable[[], Store]) -> None:
    @app.callback(
        Output("new-send", "data"),
        Output("new-wrong", "children", allow_duplicate=True),
        Input("new-submit", "n_clicks"),
        State("new-yaml", "value"),
        prevent_initial_call=True,
    )
    def send(clicks: int | None, text: str | None) -> tuple[object, object]:
        if not clicks:
            return no_update, no_update
        try:
            document = form.document_of(text or "")
        except InputError as error:
            return no_update, warning(str(error))
        # The service itself decides who may submit, and looks at all that can be looked at.
        return {"document": json.loads(json.dumps(document, default=str)), "time": clicks}, None

    @app.callback(
        output={
            "wrong": {name: Output(wrong_id(name), "children", allow_duplicate=True) for name in new_fields.WITH_LINE},
            "elsewhere": Output("new-wrong", "children", allow_duplicate=True),
            "fold": Output("new-fold", "open", allow_duplicate=True),
        },
        inputs={"answer": Input("new-sent", "data")},
        prevent_initial_call=True,
    )
    def refused(answer: dict[str, Any] | None) -> dict[str, Any]:
        told = answer or {}
        errors = [(str(each["field"]), each.get("value"), str(each["allowed"])) for each in told.get("errors") or ()]
        wrong = by_field(errors) if errors else {ELSEWHERE: str(told.get("detail") or "")}
        lines = {name: wrong.get(name, "") for name in new_fields.WITH_LINE}
        return {"wrong": lines, "elsewhere": _elsewhere(wrong), "fold": True if _in_fold(wrong) else no_update}
