"""Catalog: devices, models, prices, presets and profiles, found by words; a device or a model with all that is known of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component

from dashboard import catalog_device
from dashboard.catalog_lists import LISTINGS, shown, sourced
from dashboard.parts import Content, aria, facts, link, section
from dashboard.view import View
from db.session import Store
from search import listing
from simulator import catalog
from simulator.errors import unknown_name

TITLE, PATH, NAV = "Catalog", "/catalog", 6


def layout(view: View) -> Component:
    """Returns the kind that the address names, as far as its words go, or one device or model."""
    query = view.query
    if "device" in query:
        head = _crumbs("devices", query["device"])
        parts = catalog_device.sections(query["device"], query.get("model", catalog_device.MODEL), query.get("tp", "1"))
        return html.Div([*head, dcc.Store(id="catalog-device", data=query["device"]), dcc.Store(id="catalog-address"), *parts])
    if "model" in query:
        return html.Div([*_crumbs("models", query["model"]), *_model(query["model"])])
    kind, words = query.get("kind", "devices"), query.get("q", "")
    if kind not in LISTINGS:
        raise unknown_name("kind", kind, LISTINGS)
    return _listed(kind, words)


def _crumbs(kind: str, name: str) -> list[Component]:
    back = html.P([link("Catalog", "/catalog"), " / ", link(LISTINGS[kind][0], f"/catalog?kind={kind}")], className="caption")
    return [back, html.H1(name)]


def _listed(kind: str, words: str) -> Component:
    title, build = LISTINGS[kind]
    found = build()
    tabs = [link(name, f"/catalog?kind={each}", "tab chosen" if each == kind else "tab") for each, (name, _) in LISTINGS.items()]
    search = html.Div(
        [
            html.Label("Search", htmlFor="catalog-words"),
            dcc.Input(
                id="catalog-words",
                type="search",
                value=words,
                debounce=0.25,
                placeholder=f"Words in {title.lower()}",
                className="grow",
            ),
        ],
        className="row",
    )
    return html.Div(
        [
            html.H1(TITLE),
            dcc.Store(id="catalog-kind", data=kind),
            dcc.Store(id="catalog-address"),
            html.Nav(tabs, className="tabs", **aria(label="Kinds")),
            section(
                title, search, html.Div(shown(found, words, title), id="catalog-list", **aria(live="polite")), caption=found.caption
            ),
        ]
    )


def _model(name: str) -> list[Component]:
    """Returns a model's shape with its sources; raises InputError for an unknown one."""
    catalog.model(name)
    fields: Mapping[str, object] = listing.document("models", name)["fields"]
    told: list[tuple[str, Content]] = [(key, _plain(value)) for key, value in fields.items() if not isinstance(value, dict)]
    sources = fields.get("sources")
    origins = (
        [html.Li([html.Code(key), ": ", *sourced(str(text))]) for key, text in sources.items()] if isinstance(sources, dict) else []
    )
    nested = [(key, _plain(value)) for key, value in fields.items() if isinstance(value, dict) and key != "sources"]
    start = link("Search deployments of it", f"/new?model={name}", "button main")
    times = link("What its operators take", f"/catalog?device=H100-SXM&model={name}", "button")
    return [
        html.Div([start, times], className="row", style={"marginBottom": "16px"}),
        section("Its shape", facts([*told, *nested])),
        section("Where it comes from", html.Ul(origins, className="notes")),
    ]


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_plain(inner)}" for key, inner in value.items())
    return str(value)


def register(app: Dash, store: Callable[[], Store]) -> None:
    """Adds the search and the operator curves; the address follows both."""

    @app.callback(
        Output("catalog-list", "children"),
        Output("catalog-address", "data"),
        Input("catalog-words", "value"),
        State("catalog-kind", "data"),
        prevent_initial_call=True,
    )
    def found(words: str | None, kind: str) -> tuple[Component, dict[str, str]]:
        title, build = LISTINGS[kind]
        query = {"kind": kind, **({"q": words} if words else {})}
        return shown(build(), words or "", title), query

    @app.callback(
        Output("catalog-curves", "children"),
        Output("catalog-address", "data", allow_duplicate=True),
        Input("catalog-model", "value"),
        Input("catalog-tp", "value"),
        State("catalog-device", "data"),
        prevent_initial_call="initial_duplicate",
    )
    async def curves(model: str, parallel: str, device: str) -> tuple[Component, dict[str, str]]:
        # Tables of measured times are read the first time, which takes seconds: beside whoever else is served.
        drawn = await asyncio.to_thread(catalog_device.curves, device, model, int(parallel))
        return drawn, {"device": device, "model": model, "tp": parallel}

    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("study", "addressed"), Output("catalog-address", "id"), Input("catalog-address", "data")
    )
