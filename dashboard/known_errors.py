"""What the simulator's errors were where predictions were put beside measurements, as tables by model and by device."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from dash import html

from dashboard.parts import Content, link, table
from dashboard.report.tables import Cell
from dashboard.words import ABSENT
from simulator import catalog
from simulator.spec.accuracy import KnownError, KnownErrors

LATENCIES = ("ttft", "tpot")


def sets(kind: str) -> list[KnownErrors]:
    """Returns the measured sets of a kind: `serving`, `operators` or `memory`."""
    found = [catalog.load("accuracy", name, KnownErrors, "accuracy") for name in catalog.names("accuracy")]
    return [each for each in found if each.kind == kind]


def told(error: KnownError | None) -> Content:
    """Returns the median of the absolute errors and, under it, their bias."""
    if error is None:
        return ABSENT
    return html.Div([f"{error.median:.1%}", html.Small(f"bias {error.bias:+.1%}")])


def serving() -> html.Div:
    """Returns the errors of TTFT and TPOT by model, device and engine, the largest classes first."""
    columns = [Cell("Model"), Cell("Device"), Cell("Engine"), Cell("TTFT", "median error"), Cell("TPOT", "median error")]
    columns += [Cell("Cases"), Cell("Measured by")]
    rows = []
    for of in sets("serving"):
        classes: dict[tuple[str, str, str], dict[str, KnownError]] = {}
        for error in of.errors:
            if error.model and error.device:
                classes.setdefault((error.model, error.device, error.engine or ABSENT), {})[error.metric] = error
        for (model, device, engine), found in classes.items():
            cases = max(each.n for each in found.values())
            cells: list[Content] = [
                link(model, f"/catalog?model={quote(model)}") if model in catalog.names("models") else model,
                _device(device),
                engine,
                *(told(found.get(metric)) for metric in LATENCIES),
                f"{cases:,}",
                _set(of),
            ]
            rows.append((cases, cells))
    ordered = [cells for _, cells in sorted(rows, key=lambda row: -row[0])]
    return table(columns, ordered, "Errors of latencies by model and device", numbers=(3, 4, 5))


def operators() -> html.Div:
    """Returns the median errors of operator times by device and source, a column a kind of operator."""
    errors = [(of, error) for of in sets("operators") for error in of.errors if error.device]
    metrics = _in_order(error.metric for _, error in errors)
    columns = [Cell("Device"), Cell("Times from"), *(Cell(_spaced(metric)) for metric in metrics)]
    rows: dict[tuple[str, str, str], dict[str, KnownError]] = {}
    for of, error in errors:
        key = (error.device or "", error.source or ABSENT, of.set)
        rows.setdefault(key, {})[error.metric] = error
    cells: list[list[Content]] = []
    for key in sorted(rows):
        device, source, name = key
        origin = html.Div([source, html.Small(html.A(name, href=f"/api/v1/catalog/accuracy/{name}"))])
        found = [rows[key].get(metric) for metric in metrics]
        cells.append([_device(device), origin, *(ABSENT if each is None else f"{each.median:.1%}" for each in found)])
    return table(columns, cells, "Errors of operator times by device", numbers=tuple(range(2, 2 + len(metrics))))


def memory() -> str:
    """Returns in a sentence how near the memory of an engine is predicted; empty where no set tells."""
    parts = [
        f"{error.metric.removesuffix('_bytes').replace('_', ' ')} {error.median:.1%} ({error.n})"
        for of in sets("memory")
        for error in of.errors
        if error.device is None
    ]
    return f"Memory at start-up, median error (cases): {', '.join(parts)}." if parts else ""


def _device(name: str) -> Content:
    return link(name, f"/catalog?device={quote(name)}") if name in catalog.names("devices") else name


def _set(of: KnownErrors) -> Content:
    raw = html.A(of.set, href=f"/api/v1/catalog/accuracy/{of.set}")
    return html.Div([raw, html.Small(f"{of.date}: {of.sources.get('measured', '')}")], className="source")


def _in_order(names: Iterable[str]) -> list[str]:
    first = ("Gemm", "PrefillAttention", "DecodeAttention", "Experts", "AllReduce", "Memory")
    found = dict.fromkeys(names)
    return [*(name for name in first if name in found), *(name for name in found if name not in first)]


def _spaced(name: str) -> str:
    return "".join(f" {letter.lower()}" if letter.isupper() and place else letter for place, letter in enumerate(name))
