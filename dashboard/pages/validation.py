"""Validation: what ran on real engines beside what was simulated, by metric, device and time, and the corrections from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from dashboard.figures import measured
from dashboard.parts import Content, badge, chart, link, section, table
from dashboard.report.tables import Cell
from dashboard.view import View
from dashboard.words import ABSENT, deployment_title, number, spoken
from db import queries, validations
from db.rows import CorrectionRow
from db.validations import Found
from search.validation import document
from simulator.errors import InputError

TITLE, PATH, NAV = "Validation", "/validation", 5
MOST, ROWS = 500, 60
DRAWN = ("ttft_p50_s", "tpot_mean_s")


def layout(view: View) -> Component:
    """Returns the validations of a device, an engine and a study, as far as the address names them."""
    engine, device, study = (view.query.get(name) or None for name in ("engine", "device", "study"))
    chosen = None if study is None else queries.study(view.store, study).id
    places = validations.places(view.store)
    if not places:
        return html.Div([html.H1(TITLE), _empty()])
    found = validations.newest(view.store, MOST, engine=engine, device=device, study_id=chosen)
    parts: list[Content] = [html.H1(TITLE), _filters(view, places, engine, device)]
    if not found:
        raise InputError("validation", view.query, "a device, an engine and a study of which something was measured")
    parts += [
        _errors(found),
        *_drawn(found),
        None if chosen is None else _order(view, chosen),
        _rows(view, found),
        _corrections(list(validations.corrections(view.store).values())),
    ]
    return html.Div(parts)


def _empty() -> Component:
    return html.Section(
        [
            html.H2("Nothing was run on a real engine yet"),
            html.P(
                "A validation runs the best deployments of a study on real GPUs, or a small model on this machine's processor, "
                "at loads around the claimed capacity, and stores what was measured beside what was simulated."
            ),
            html.Pre("trimtab validate STUDY --top 3 --engine vllm"),
        ],
        className="empty",
    )


def _filters(view: View, places: Sequence[tuple[str, str]], engine: str | None, device: str | None) -> Component:
    def choices(name: str, values: Sequence[str], now: str | None) -> list[Component]:
        found: list[Component] = [html.Span(f"{name}: ", className="caption")]
        for value in (None, *sorted(set(values))):
            text = value or "all"
            found.append(html.Strong(text) if value == now else dcc.Link(text, href=view.address(**{name: value})))
        return found

    devices, engines = [place[0] for place in places], [place[1] for place in places]
    return html.Div([*choices("device", devices, device), *choices("engine", engines, engine)], className="row")


def _errors(found: Sequence[Found]) -> Component:
    by_metric: dict[tuple[str, str, float], list[float]] = defaultdict(list)
    for each in found:
        for metric, error in (each.row.errors or {}).items():
            by_metric[(metric, each.row.device, each.row.load)].append(error)
    rows: list[list[Content]] = [
        [
            spoken(metric), device, f"{load:.0%}", f"{len(values)}", f"{median(abs(value) for value in values):.1%}",
            f"{median(values):+.1%}", f"{max(values, key=abs):+.1%}",
        ]
        for (metric, device, load), values in sorted(by_metric.items())
    ]  # fmt: skip
    columns = [Cell(name) for name in ("Metric", "Device", "Load", "Runs", "Median error", "Bias", "Largest")]
    return section(
        "Error by metric",
        table(columns, rows, "Error by metric", numbers=(2, 3, 4, 5, 6)),
        caption="(simulated - measured) / measured; load is the share of the claimed capacity. Nothing was fitted to these runs "
        "unless a correction says so.",
    )


def _drawn(found: Sequence[Found]) -> list[Component]:
    panels: list[Component] = []
    for metric in DRAWN:
        pairs, errors = [], []
        for each in found:
            row = each.row
            real, ours = value_of(row.measured, metric), value_of(row.simulated, metric)
            name = f"{each.name}, trial {each.trial}, {row.load:.0%} load"
            if real and ours:
                pairs.append((row.device, real, ours, name))
                errors.append((row.device, row.finished_at, ours / real - 1, name))
        if pairs:
            title = spoken(metric)
            panels += [
                section(
                    f"{title}: measured and simulated",
                    chart(f"validation-{metric}", measured.beside(pairs), f"{title}, simulated over measured"),
                    html.H3("Error over time"),
                    chart(f"validation-time-{metric}", measured.over_time(errors), f"Error of {title} over time"),
                )
            ]
    return panels


def value_of(metrics: dict[str, Any] | None, metric: str) -> float | None:
    """Returns a metric such as ttft_p50_s of stored Metrics; None where it is not there."""
    name, statistic = metric.removesuffix("_s").rsplit("_", 1)
    value = ((metrics or {}).get(f"{name}_s") or {}).get(statistic)
    return None if value is None else float(value)


def _order(view: View, study: str) -> Component:
    """Returns whether the simulator orders the deployments of a study as the engine does, and what its pick costs."""
    rows: list[list[Content]] = [
        [
            f"{each['load']:.0%}", spoken(each["metric"]), f"{each['deployments']}", number(each["spearman"]),
            number(each["kendall"]), ABSENT if each["regret"] is None else f"{each['regret']:.1%}",
        ]
        for each in document(view.store, study)["agreement"]
    ]  # fmt: skip
    columns = [Cell(name) for name in ("Load", "Metric", "Deployments", "Spearman", "Kendall", "Regret")]
    caption = "Rank correlations with the measured order; regret is by how much our pick is worse than the measured best."
    return section("Order of deployments", table(columns, rows, "Order of deployments", numbers=(0, 2, 3, 4, 5)), caption=caption)


def _rows(view: View, found: Sequence[Found]) -> Component:
    rows: list[list[Content]] = []
    for each in found[:ROWS]:
        row = each.row
        trial = queries.trial(view.store, row.study_id, each.trial)
        named = link(html.Bdi(each.name), f"/studies/{row.study_id}/trials/{each.trial}")
        state: Content = badge(row.state) if row.state == "done" else html.Div([badge(row.state), html.Small(_fault(row))])
        rows.append(
            [
                html.Div([named, html.Small(deployment_title(trial.deployment) if trial.deployment else ABSENT)]),
                f"{row.device}, {row.engine}", f"{row.load:.0%}", number(row.rate_rps), state,
                *(_both(row, metric) for metric in DRAWN), f"{row.finished_at:%Y-%m-%d %H:%M}",
            ]
        )  # fmt: skip
    names = ("Deployment", "Where", "Load", "requests/s", "State", *(spoken(metric) for metric in DRAWN), "When (UTC)")
    left = f"{len(found) - ROWS} older ones are left out." if len(found) > ROWS else None
    return section("Runs", table([Cell(name) for name in names], rows, "Runs", numbers=(2, 3)), caption=left)


def _fault(row: Any) -> str:
    return f"{row.fault_kind}: {row.fault_reason}"


def _both(row: Any, metric: str) -> Content:
    real, ours = value_of(row.measured, metric), value_of(row.simulated, metric)
    if real is None or ours is None:
        return ABSENT
    return html.Div([f"{1000 * real:,.1f} ms", html.Small(f"simulated {1000 * ours:,.1f} ms, {ours / real - 1:+.1%}")])


def _corrections(found: Sequence[CorrectionRow]) -> Component:
    if not found:
        return section("Corrections", html.P("None yet: `trimtab validate STUDY --fit NAME` makes one from three deployments."))
    rows: list[list[Content]] = [
        [
            row.name, f"{row.device}, {row.engine}",
            ", ".join(f"{name} {factor:.3g}" for name, factor in row.factors.items() if isinstance(factor, int | float)),
            f"{len(row.training)}", f"{row.created_at:%Y-%m-%d}",
        ]
        for row in found
    ]  # fmt: skip
    columns = [Cell(name) for name in ("Correction", "Where", "Factors", "Fitted to runs", "Made")]
    return section(
        "Corrections",
        table(columns, rows, "Corrections", numbers=(3,)),
        caption="Factors of the simulator's seconds by operator class; `trimtab search --correction NAME` takes one.",
    )
