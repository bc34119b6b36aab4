"""The dashboard: Dash on the very FastAPI application that serves REST; one address, one process, no other host."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from anyio import to_thread
from dash import MATCH, ClientsideFunction, Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component

from dashboard import pages
from dashboard.figures.theme import dark_for_light
from dashboard.parts import SAID, aria, link, warning
from dashboard.view import View
from db.session import Store
from simulator.errors import TrimtabError

NAME = "Trimtab"
INDEX = """<!DOCTYPE html>
<html lang="en">
<head>{%metas%}<title>{%title%}</title>{%favicon%}{%css%}</head>
<body>{%app_entry%}<footer>{%config%}{%scripts%}{%renderer%}</footer></body>
</html>"""


class Pages(Dash):
    """Dash whose callbacks leave the event loop to others: those that are no coroutines run in a thread, for their caller."""

    def callback(self, *parts: Any, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Returns what adds a callback."""
        add = super().callback(*parts, **options)

        def added(function: Callable[..., Any]) -> Callable[..., Any]:
            if inspect.iscoroutinefunction(function):
                add(function)
                return function

            @functools.wraps(function)
            async def aside(*given: Any, **named: Any) -> Any:
                return await to_thread.run_sync(functools.partial(function, *given, **named))

            add(aside)
            return function

        return added


def mount(server: Any, store: Callable[[], Store], *, with_keys: bool = False) -> Dash:
    """Returns the dashboard, put on `server`, a FastAPI application, after its other routes; `store` gives its open store.

    Where keys are asked for, whoever has logged in can log out.
    """
    app = Pages(
        "dashboard",
        server=server,
        title=NAME,
        update_title="",
        suppress_callback_exceptions=True,
        pages_folder="",
        assets_folder="assets",
        serve_locally=True,
        index_string=INDEX,
        meta_tags=[
            {"name": "viewport", "content": "width=device-width, initial-scale=1"},
            {"name": "trimtab-dark", "content": json.dumps(dark_for_light())},
        ],
    )
    # The browser would otherwise keep a socket open for callbacks that stream, of which there are none.
    app.backend.websocket_capability = False
    app.layout = _shell(with_keys)
    _route(app, store)
    # Colours are swapped in the browser, which knows whether its reader likes it dark.
    figure = (
        Output({"chart": MATCH, "part": "graph"}, "figure"),
        Input({"chart": MATCH, "part": "figure"}, "data"),
        Input("dark", "data"),
    )
    _in_browser(app, "themed", *figure)
    _in_browser(app, "dark", Output("dark", "data"), Input("theme", "n_clicks"))
    _in_browser(app, "titled", Output("page", "title"), Input("page", "children"))
    for page in pages.all_pages():
        if hasattr(page, "register"):
            page.register(app, store)
    # Otherwise the first request does this, and what is answered meanwhile has neither styles nor callbacks.
    app._setup_server()  # type: ignore[no-untyped-call]
    return app


def _in_browser(app: Dash, function: str, *parts: Output | Input | State) -> None:
    """Adds a callback that is a function of assets/app.js."""
    app.clientside_callback(ClientsideFunction("trimtab", function), *parts)  # type: ignore[no-untyped-call]


def _shell(with_keys: bool) -> Component:
    """Returns what stands around every page."""
    listed = sorted((page for page in pages.all_pages() if page.NAV), key=lambda page: page.NAV)
    links = [link(page.TITLE, page.PATH) for page in listed]
    theme = html.Button("Light or dark", id="theme", className="quiet", type="button")
    out = html.Form(html.Button("Log out", className="quiet", type="submit"), action="/logout", method="POST")
    return html.Div(
        [
            html.A("Skip to the page", href="#page", className="skip"),
            dcc.Location(id="url", refresh="callback-nav"),
            dcc.Store(id="dark"),
            html.Header(
                [link(NAME, "/", "brand"), html.Nav(links, **aria(label="Pages")), theme, *([out] if with_keys else [])],
                className="top",
            ),
            # What a button could not do; empty on every new page.
            html.Div(id=SAID, role="alert"),
            html.Main(id="page", tabIndex=-1),
        ]
    )


def _route(app: Dash, store: Callable[[], Store]) -> None:
    @app.callback(Output("page", "children"), Output(SAID, "children"), Input("url", "pathname"), Input("url", "search"))
    def shown(path: str | None, search: str | None) -> tuple[Component, str]:
        return page_of(store(), path or "/", (search or "").lstrip("?")), ""


def page_of(store: Store, path: str, query: str) -> Component:
    """Returns the page at an address; what is wrong with the address is told on the page."""
    found = pages.page_at(path)
    if found is None:
        return html.Div([html.H1("There is no such page"), html.P(["Nothing is at ", html.Code(path), "."]), link("Home", "/")])
    page, params = found
    try:
        content: Component = page.layout(View(store, path, params, dict(parse_qsl(query))))
    except TrimtabError as error:
        return html.Div([html.H1(page.TITLE), warning(str(error))])
    return content
