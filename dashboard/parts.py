"""Parts that pages are made of: sections, tiles, tables, charts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go
from dash import dcc, html
from dash.development.base_component import Component

from dashboard.figures.theme import CONFIG
from dashboard.report.answer import Tile
from dashboard.report.tables import Cell

Content = Component | str | None


def aria(**values: str) -> dict[str, Any]:
    """Returns what a screen reader is told, as properties of a component: label, live."""
    return {f"aria-{name}": value for name, value in values.items()}


def section(title: str, *content: Content, caption: str | None = None, name: str = "") -> html.Section:
    """Returns a panel with a heading and, under it, what it is about in a sentence."""
    head = [html.H2(title), *([html.P(caption, className="caption")] if caption else [])]
    return html.Section([*head, *(part for part in content if part is not None)], className=name)


def facts(pairs: Iterable[tuple[str, Content]]) -> html.Dl:
    """Returns labels with what belongs to each."""
    return html.Dl([html.Div([html.Dt(label), html.Dd(value)]) for label, value in pairs], className="facts")


def tiles(found: Sequence[Tile]) -> html.Div:
    """Returns one panel a number, with a bar where it has a limit."""
    return html.Div([_tile(tile) for tile in found], className="tiles")


def _tile(tile: Tile) -> html.Div:
    detail: list[Content] = [tile.detail]
    if tile.share is not None:
        bar = html.I(style={"width": f"{100 * min(tile.share, 1):.1f}%"})
        detail.insert(0, html.Div(bar, className=f"meter{' over' if tile.share > 1 else ''}"))
    texts = [html.P(tile.label, className="label"), html.P(tile.value, className="value")]
    return html.Div([*texts, html.Div(detail, className="detail")], className="tile")


def table(columns: Sequence[Cell], rows: Sequence[Sequence[Content]], label: str, numbers: Sequence[int] = ()) -> html.Div:
    """Returns a table that scrolls by itself, the columns at `numbers` set to the right; `label` is for screen readers."""
    kinds = ["number" if place in numbers else "" for place in range(len(columns))]
    head = [html.Th(stacked(cell), className=kind, scope="col") for cell, kind in zip(columns, kinds, strict=True)]
    body = [html.Tr([html.Td(cell, className=kind) for cell, kind in zip(row, kinds, strict=True)]) for row in rows]
    inner = html.Table([html.Thead(html.Tr(head)), html.Tbody(body)])
    return html.Div(inner, className="scroll", tabIndex=0, role="region", **aria(label=label))


def stacked(cell: Cell) -> list[Content]:
    """Returns a cell's text with what stands small under it."""
    return [cell.text, html.Small(cell.small)] if cell.small else [cell.text]


def badge(text: str, kind: str = "") -> html.Span:
    """Returns a word in a coloured field; `kind` is a state or a kind of provenance."""
    return html.Span(text, className=f"badge {kind or text}")


def chart(name: str, drawing: go.Figure, alt: str) -> html.Div:
    """Returns a figure under a name of its own on the page; its colours follow the reader's choice of light or dark.

    A callback that changes it writes the data of `held(name)`.
    """
    height = {"height": f"{int(drawing.layout.height or 400)}px"}
    config: Any = CONFIG
    graph = dcc.Graph(id={"chart": name, "part": "graph"}, config=config, style=height, responsive=True)
    store = dcc.Store(id=held(name), data=figure_json(drawing))
    return html.Div([store, html.Div(graph, role="figure", **aria(label=alt))], className="chart")


def held(name: str) -> dict[str, str]:
    """Returns the id of what holds a chart's figure in the light colours."""
    return {"chart": name, "part": "figure"}


def figure_json(drawing: go.Figure) -> dict[str, Any]:
    """Returns a figure as the browser takes it."""
    found: dict[str, Any] = drawing.to_plotly_json()
    return found


# Where the shell tells what a button could not do.
SAID = "said"


def warning(text: str) -> html.P:
    """Returns a line that is not to be missed."""
    return html.P(text, className="warning", role="alert")


def link(text: Content, address: str, name: str = "") -> dcc.Link:
    """Returns a link within the dashboard."""
    return dcc.Link(text, href=address, className=name)
