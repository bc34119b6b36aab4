"""The section of a study's page with its frontier: what stands on the axes, the colour, and the sliders of SLO and prices."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from dashboard.explored import Asked, axes_of, draw, price_book, rent_of, varied
from dashboard.parts import aria, chart, figure_json, held, section, warning
from dashboard.view import View
from dashboard.words import seconds, spoken
from db import queries
from db.rows import StudyRow
from db.session import Store
from simulator.errors import InputError
from simulator.spec.slo import TERMS

CHART = "study-frontier"
SCALES = [{"label": name, "value": value} for name, value in (("by the values", "auto"), ("linear", "linear"), ("log", "log"))]
# Sliders count halvings and doublings.
SLO_SPAN, PRICE_SPAN, STEP = 3.0, 2.0, 0.125


def section_of(view: View, study: StudyRow) -> Component:
    """Returns the section as the address asks for it; raises InputError for a wrong name in the address."""
    asked = asked_of(view.query, study)
    drawn = draw(view.store, study, asked)
    axes = [{"label": axis.brief, "value": axis.name} for axis in axes_of(study)]
    colors = [{"label": name, "value": name} for name in dict.fromkeys(["device", *varied(study)])]
    colors += [{"label": axis.brief, "value": axis.name} for axis in axes_of(study)]
    controls = [
        _choice("study-x", "Across", axes, asked.x),
        _choice("study-y", "Up", axes, asked.y),
        _choice("study-color", "Colour", colors, asked.color),
        _choice("study-xscale", "Scale across", SCALES, asked.x_scale or "auto"),
        _choice("study-yscale", "Scale up", SCALES, asked.y_scale or "auto"),
    ]
    return section(
        "The frontier",
        html.Div(controls, className="controls"),
        chart(CHART, drawn.figure, "The frontier of the study"),
        html.P(drawn.told, id="study-told", className="caption", **aria(live="polite")),
        html.Div(outside(drawn.outside), id="study-outside"),
        _sliders(study, asked),
        dcc.Store(id="study-address"),
    )


def _choice(name: str, label: str, options: list[dict[str, str]], value: str) -> Component:
    return html.Div([html.Label(label, htmlFor=name), dcc.Dropdown(id=name, options=options, value=value, clearable=False)])


def _sliders(study: StudyRow, asked: Asked) -> Component:
    rows = []
    for name, limit in (study.request.get("slo") or {}).items():
        if name in TERMS:
            now = math.log2(asked.slo.get(name, limit) / limit)
            marks = {place: seconds(limit * 2.0**place) for place in (-3, 0, 3)}
            rows.append(_slider({"study-slo": name}, f"SLO: {spoken(name)}", SLO_SPAN, now, marks))
    book = price_book(study)
    devices = (study.request.get("space") or {}).get("device") or []
    for device in devices if isinstance(devices, list) and book is not None else []:
        assert book is not None, "asked above"
        marks = {place: f"{2.0**place:g}\N{MULTIPLICATION SIGN}" for place in (-2, 0, 2)}
        now = math.log2(asked.prices.get(device, 1.0))
        rows.append(_slider({"study-price": device}, f"{device}: {rent_of(book, device)}", PRICE_SPAN, now, marks))
    told = html.P("Move a limit or a price, and the frontier follows from the stored latency curves.", className="caption")
    reset = html.Button("As the study has it", id="study-reset", type="button")
    return html.Details(
        [html.Summary("What if the SLO or the prices were different?"), told, html.Div(rows, className="sliders"), reset],
        open=bool(asked.slo or asked.prices),
        className="whatif",
    )


def _slider(name: dict[str, str], label: str, span: float, now: float, marks: Mapping[int, str]) -> Component:
    # A slider tells its value when it is let go, so that no answer is late.
    ends: dict[str, Any] = {"min": -span, "max": span, "step": STEP, "marks": dict(marks)}
    slider = dcc.Slider(id=name, value=round(now / STEP) * STEP, updatemode="mouseup", included=False, **ends)
    return html.Div([html.Label(label), slider], className="slider", **aria(label=label), role="group")


def outside(lines: list[str]) -> Component | None:
    """Returns what the curves leave open, folded; None where there is nothing."""
    if not lines:
        return None
    summary = html.Summary(f"Where the curves do not reach far enough ({len(lines):,})")
    return html.Details([summary, html.Ul([html.Li(line) for line in lines])], className="ties")


def asked_of(query: Mapping[str, str], study: StudyRow) -> Asked:
    """Returns what the address asks for, the study's own where it says nothing; raises InputError for a wrong value."""
    names = study.request["objectives"]
    slo = study.request.get("slo") or {}
    changed = {name[4:]: _number(name, value) for name, value in query.items() if name.startswith("slo.")}
    for name in changed:
        if name not in slo:
            raise InputError(f"slo.{name}", changed[name], f"a bound of the study: {', '.join(slo)}")
    return Asked(
        x=query.get("x", names[0]),
        y=query.get("y", names[1] if len(names) > 1 else "rate_rps"),
        color=query.get("color", names[2] if len(names) > 2 else "device"),
        x_scale=_scale("xscale", query.get("xscale")),
        y_scale=_scale("yscale", query.get("yscale")),
        slo=changed,
        prices={name[6:]: _number(name, value) for name, value in query.items() if name.startswith("price.")},
    )


def _scale(name: str, value: str | None) -> str | None:
    if value in (None, "auto"):
        return None
    if value not in ("linear", "log"):
        raise InputError(name, value, "linear, log or auto")
    return value


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise InputError(name, text, "a number over 0")
    return value


def query_of(values: Mapping[str, str], slo: Mapping[str, float], prices: Mapping[str, float]) -> dict[str, str]:
    """Returns the query of the address for what is chosen."""
    kept = {name: value for name, value in values.items() if value and value != "auto"}
    return {**kept, **{f"slo.{n}": f"{v:.4g}" for n, v in slo.items()}, **{f"price.{n}": f"{v:.4g}" for n, v in prices.items()}}


def register(app: Dash, store: Callable[[], Store]) -> None:
    """Adds the redrawing of the frontier and the address that follows it."""

    @app.callback(
        Output(held(CHART), "data"),
        Output("study-told", "children"),
        Output("study-outside", "children"),
        Output("study-address", "data"),
        Input("study-x", "value"),
        Input("study-y", "value"),
        Input("study-color", "value"),
        Input("study-xscale", "value"),
        Input("study-yscale", "value"),
        Input({"study-slo": ALL}, "value"),
        Input({"study-price": ALL}, "value"),
        Input("study-seen", "data"),
        State({"study-slo": ALL}, "id"),
        State({"study-price": ALL}, "id"),
        State("study-id", "data"),
        prevent_initial_call=True,
    )
    def redraw(x: str, y: str, color: str, xscale: str, yscale: str, *rest: Any) -> tuple[object, ...]:
        slo_at, price_at, _, slo_ids, price_ids, study_id = rest
        study = queries.study(store(), study_id)
        own = study.request.get("slo") or {}
        named = zip(slo_ids, slo_at, strict=True)
        slo = {each["study-slo"]: own[each["study-slo"]] * 2.0**at for each, at in named if at}
        prices = {each["study-price"]: 2.0**at for each, at in zip(price_ids, price_at, strict=True) if at}
        query = query_of({"x": x, "y": y, "color": color, "xscale": xscale, "yscale": yscale}, slo, prices)
        try:
            drawn = draw(store(), study, asked_of(query, study))
        except InputError as error:
            return no_update, warning(str(error)), None, no_update
        return figure_json(drawn.figure), drawn.told, outside(drawn.outside), query

    @app.callback(
        Output({"study-slo": ALL}, "value"),
        Output({"study-price": ALL}, "value"),
        Input("study-reset", "n_clicks"),
        State({"study-slo": ALL}, "id"),
        State({"study-price": ALL}, "id"),
        prevent_initial_call=True,
    )
    def reset(clicks: int | None, slo_ids: list[Any], price_ids: list[Any]) -> tuple[list[object], list[object]]:
        value: object = 0 if clicks else no_update
        return [value] * len(slo_ids), [value] * len(price_ids)

    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("study", "addressed"), Output("study-address", "id"), Input("study-address", "data")
    )
