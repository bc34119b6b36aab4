"""Help: how an answer is obtained, how exact it is, what the words mean, and how to find one's way."""

from __future__ import annotations

from collections.abc import Callable

from dash import Dash, Input, Output, dcc, html
from dash.development.base_component import Component

from dashboard import glossary, known_errors
from dashboard.help_words import HINTS, METHOD
from dashboard.parts import Content, aria, link, section
from dashboard.view import View
from db.session import Store

TITLE, PATH, NAV = "Help", "/help", 9


def layout(view: View) -> Component:
    """Returns all of it; `q` in the address filters the words."""
    words = view.query.get("q", "")
    places = (("method", "Method"), ("accuracy", "Accuracy"), ("use", "Finding one's way"), ("glossary", "Glossary"))
    jumps = html.Nav(
        [html.A(title, href=f"#{name}", className="tab") for name, title in places], className="tabs", **aria(label="On this page")
    )
    return html.Div([html.H1(TITLE), jumps, _method(), _accuracy(), _use(), _glossary(words)], className="help")


def _anchored(name: str, *parts: Component) -> Component:
    return html.Div(list(parts), id=name, className="anchor")


def _method() -> Component:
    steps = [html.Li([html.Strong(title), html.Span(text)]) for title, text in METHOD]
    return _anchored("method", section("How an answer is obtained", html.Ol(steps, className="method")))


def _accuracy() -> Component:
    caption = (
        "Predictions beside measurements that others published; nothing is fitted to a set that is scored. An error is "
        "predicted over measured, less one; the median is of its size, the bias of its sign. Each set opens with all of it."
    )
    parts: list[Content] = [
        html.H3("Latencies beside real engines"),
        known_errors.serving(),
        html.H3("Operator times beside measured kernels"),
        known_errors.operators(),
        html.P(known_errors.memory(), className="caption"),
        html.P(
            ["What operators take on a device, and from which source: ", link("the catalog", "/catalog"), "."], className="caption"
        ),
    ]
    return _anchored("accuracy", section("How exact it is", *parts, caption=caption, name="accuracy"))


def _use() -> Component:
    hints = [html.Div([html.Dt(title), html.Dd(text)]) for title, text in HINTS]
    return _anchored("use", section("Finding one's way", html.Dl(hints, className="words")))


def _glossary(words: str) -> Component:
    search = html.Div(
        [
            html.Label("Search", htmlFor="help-words"),
            dcc.Input(id="help-words", type="search", value=words, debounce=0.25, placeholder="A word", className="grow"),
        ],
        className="row",
    )
    found = html.Div(listed(words), id="help-list", **aria(live="polite"))
    return _anchored(
        "glossary",
        section("Glossary", search, found, caption="Everything is in seconds, bytes, tokens, FLOP/s and US dollars."),
    )


def listed(words: str) -> list[Component]:
    """Returns the words that have what is looked for in them or in what they mean, table by table."""
    wanted, found = words.lower().split(), []
    for title, rows in glossary.words().items():
        kept = [(word, text) for word, text in rows if all(each in f"{word} {text}".lower() for each in wanted)]
        if kept:
            entries = [html.Div([html.Dt(glossary.marked(word)), html.Dd(glossary.marked(text))]) for word, text in kept]
            found += [html.H3({"noun": "Nouns", "metric": "Metrics"}.get(title, title)), html.Dl(entries, className="words")]
    return found or [html.P("No word is like that.", className="caption")]


def register(app: Dash, store: Callable[[], Store]) -> None:
    """Adds the search of words."""

    @app.callback(Output("help-list", "children"), Input("help-words", "value"), prevent_initial_call=True)
    def find(words: str | None) -> list[Component]:
        return listed(words or "")
