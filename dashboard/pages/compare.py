"""Compare: up to four trials or studies side by side, what differs marked, their latencies over each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from dashboard.axis import axis_of
from dashboard.figures import latency_curve, quantiles
from dashboard.figures.theme import LIGHT
from dashboard.frames import curves_frame, ends
from dashboard.pages.trial import ALWAYS, LATENCIES, found, limits_of
from dashboard.parts import Content, aria, badge, chart, link, section, warning
from dashboard.report.heading import traffic
from dashboard.view import View
from dashboard.words import ABSENT, deployment_title, in_order, number, rent, seconds, spoken, usd
from db import queries, sampled
from db.rows import StudyRow, TrialRow
from db.session import Store
from simulator.errors import InputError
from simulator.spec.slo import TERMS

TITLE, PATH, NAV = "Compare", "/compare", 3
MOST = 4


@dataclass(frozen=True)
class Item:
    """A column: its place in the address, its study, and its trial, of a study the best; None where it has no answer."""

    address: str
    study: StudyRow
    trial: TrialRow | None
    whole: bool

    @property
    def label(self) -> str:
        """What stands above the column and in legends."""
        if self.trial is None:
            return self.study.name
        return f"{deployment_title(self.trial.deployment)} (trial {self.trial.number})"


def layout(view: View) -> Component:
    """Returns the comparison of the `items` of the address, STUDY/TRIAL or STUDY, and the form that adds one."""
    names = [name for name in view.query.get("items", "").split(",") if name]
    if len(names) > MOST:
        raise InputError("items", ",".join(names), f"at most {MOST} trials or studies")
    items = [_item(view.store, name) for name in names]
    return html.Div(
        [
            html.H1(TITLE),
            dcc.Store(id="compare-items", data=names),
            _form(names),
            html.Div(id="compare-said"),
            *(_body(items) if items else [_empty()]),
        ]
    )


def _item(store: Store, name: str) -> Item:
    study_text, _, number_text = name.partition("/")
    if number_text:
        study, trial = found(store, study_text, number_text)
        return Item(name, study, trial, False)
    study = queries.study(store, study_text)
    best = sampled.frontier(store, study.id, 1)
    return Item(name, study, queries.trial(store, study.id, best[0].trial.number) if best else None, True)


def _form(names: Sequence[str]) -> Component:
    full = len(names) >= MOST
    more = dcc.Input(id="compare-more", type="text", placeholder="STUDY or STUDY/TRIAL", disabled=full, className="grow")
    add = html.Button("Add", id="compare-add", type="button", disabled=full)
    label = html.Label(f"Up to {MOST} of them", htmlFor="compare-more")
    return html.Div([label, more, add], className="row", style={"marginBottom": "16px"})


def _empty() -> Component:
    told = "Add a study by its name or id, or one of its trials as STUDY/TRIAL; a trial's page has a button for it."
    return html.Section([html.H2("Nothing to compare yet"), html.P(told)], className="empty")


def _body(items: Sequence[Item]) -> list[html.Section]:
    parts = [section("Side by side", _table(items, _answers(items), marked=False), caption=_caption(items))]
    with_trial = [item for item in items if item.trial is not None]
    if with_trial:
        parts += [_curves(with_trial), _bars(with_trial)]
    parts.append(section("What was asked", _table(items, _asked(items)), caption="Marked where they differ."))
    if with_trial:
        deployments = [(item.trial.deployment if item.trial else {}) for item in items]
        parts.append(section("Knobs", _table(items, _knobs(deployments)), caption="Those that differ come first, marked."))
    return parts


def _caption(items: Sequence[Item]) -> str:
    return "Of a study its best deployment, at its capacity." if any(item.whole for item in items) else "Each at its capacity."


def _table(items: Sequence[Item], rows: Sequence[tuple[str, Sequence[Content]]], marked: bool = True) -> Component:
    head = [html.Th("", scope="col"), *(html.Th(_head(items, place), scope="col") for place in range(len(items)))]
    body = []
    for name, cells in rows:
        differs = marked and len({repr(cell) for cell in cells}) > 1
        shown = [html.Td(cell, className="differs" if differs else "") for cell in cells]
        body.append(html.Tr([html.Th(name, scope="row"), *shown]))
    inner = html.Table([html.Thead(html.Tr(head)), html.Tbody(body)], className="compared")
    return html.Div(inner, className="scroll", tabIndex=0, role="region", **aria(label="Comparison"))


def _head(items: Sequence[Item], place: int) -> Component:
    item = items[place]
    where = f"/studies/{item.study.id}" + (f"/trials/{item.trial.number}" if item.trial and not item.whole else "")
    rest = ",".join(each.address for index, each in enumerate(items) if index != place)
    color = html.I(className=f"dot mark-{place}")
    return html.Div(
        [color, link(item.label, where), html.Small(html.Bdi(item.study.name)), link("remove", f"/compare?items={rest}")]
    )


def _answers(items: Sequence[Item]) -> list[tuple[str, list[Content]]]:
    rows: list[tuple[str, list[Content]]] = [
        ("State", [badge(item.trial.state if item.trial else item.study.state) for item in items])
    ]
    trials = [item.trial for item in items]
    rows.append(("Capacity (requests/s)", [_capacity(trial) for trial in trials]))
    rows.append(("What binds it", [spoken(t.binding) if t and t.binding else ABSENT for t in trials]))
    rows.append(("Rent", [f"{usd(t.bill['usd_per_hour'])} / h, {rent(t.bill)}" if t and t.bill else ABSENT for t in trials]))
    for name in dict.fromkeys(name for item in items for name in item.study.request["objectives"]):
        axis = axis_of(name, {})
        rows.append((axis.brief, [axis.text(t.objectives.get(name)) if t else ABSENT for t in trials]))
    names = ("ttft_p99_s", "tpot_p99_s", "itl_p99_s", "e2e_p99_s")
    asked = {name for item in items for name in item.study.request["objectives"]}
    for name in (name for name in names if name not in asked):
        rows.append((spoken(name), [seconds(_latency(t, name)) for t in trials]))
    for name, title in (("mfu", "MFU"), ("kv_utilization", "KV in use"), ("busy_share", "Busy")):
        values = [((t.metrics or {}) if t else {}).get(name) for t in trials]
        rows.append((title, [ABSENT if value is None else f"{value:.0%}" for value in values]))
    return rows


def _capacity(trial: TrialRow | None) -> str:
    if trial is None or trial.capacity_rps is None:
        return ABSENT
    return f"{number(trial.capacity_rps)} ({ends(trial)})" if ends(trial) else number(trial.capacity_rps)


def _latency(trial: TrialRow | None, name: str) -> float | None:
    kind, statistic, _ = name.split("_")
    value = (((trial.metrics or {}) if trial else {}).get(f"{kind}_s") or {}).get(statistic)
    return None if value is None else float(value)


def _asked(items: Sequence[Item]) -> list[tuple[str, list[Content]]]:
    requests = [item.study.request for item in items]
    slos = [" · ".join(f"{spoken(name)} {seconds(limit)}" for name, limit in (r.get("slo") or {}).items()) for r in requests]
    demands = [(r.get("demand") or {}).get("rate_rps") for r in requests]
    return [
        ("Model", [str(r.get("model")) for r in requests]),
        ("Engine", [str(r.get("engine")) for r in requests]),
        ("Traffic", [traffic(r.get("workload") or {}) for r in requests]),
        ("SLO", list(slos)),
        ("Load", ["its own capacity" if each is None else f"{number(each)} requests/s" for each in demands]),
        ("Prices", [str(r.get("prices") or "none") for r in requests]),
        ("Seed", [str(item.study.seed) for item in items]),
    ]


def _knobs(deployments: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Content]]]:
    names = list(dict.fromkeys(name for deployment in deployments for name in deployment))
    ordered = [*(name for name in names if name not in in_order(names)), *in_order(names)]
    rows: list[tuple[str, list[Content]]] = [(name, [_plain(each.get(name)) for each in deployments]) for name in ordered]
    return sorted(rows, key=lambda row: len(set(map(str, row[1]))) == 1)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items()) or ABSENT
    return ABSENT if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _curves(items: Sequence[Item]) -> html.Section:
    """Returns the latency curves over each other, coloured by item as everywhere on the page."""
    frames = []
    for item in items:
        assert item.trial is not None, "filtered before"
        frames.append((item.label, curves_frame([item.trial]).assign(device=item.label, title=item.label)))
    palette = {label: LIGHT.marks[place] for place, (label, _) in enumerate(frames)}
    slo = items[0].study.request.get("slo") or {}
    same = all((item.study.request.get("slo") or {}) == slo for item in items)
    panels = []
    for name in dict.fromkeys([*ALWAYS, *(name for name in slo if name in TERMS)]):
        kept = [frame.assign(trial=place) for place, (_, frame) in enumerate(frames) if frame[name].notna().any()]
        if not kept:
            continue
        axis = axis_of(name, slo if same else {})
        drawing = latency_curve.figure(pd.concat(kept), axis, palette)
        panels.append(html.Div([html.H3(axis.short), chart(f"compare-curve-{name}", drawing, axis.short)], className="panel"))
    limits = "the dashed line is the SLO." if same else "their SLOs differ and are not drawn."
    return section(
        "Latency against load", html.Div(panels, className="pair"), caption=f"A band is the interval of a capacity; {limits}"
    )


def _bars(items: Sequence[Item]) -> html.Section:
    panels = []
    for name in LATENCIES:
        told = [(item.label, (item.trial.metrics or {}).get(name) or {}) for item in items if item.trial is not None]
        if not any(values.get("p50") is not None for _, values in told):
            continue
        slo = items[0].study.request.get("slo") or {}
        same = all((item.study.request.get("slo") or {}) == slo for item in items)
        drawing = quantiles.figure(told, limits_of(slo, name) if same else {})
        drawing.update_layout(height=340)
        panels.append(html.Div([html.H3(spoken(name)), chart(f"compare-bars-{name}", drawing, spoken(name))], className="panel"))
    return section("Distributions", html.Div(panels, className="pair"), caption="Quantiles of each at its own capacity.")


def register(app: Dash, store: Callable[[], Store]) -> None:
    """Adds the form."""

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Output("compare-said", "children"),
        Input("compare-add", "n_clicks"),
        Input("compare-more", "n_submit"),
        State("compare-more", "value"),
        State("compare-items", "data"),
        prevent_initial_call=True,
    )
    def add(clicks: int | None, submits: int | None, text: str | None, names: list[str]) -> tuple[object, object]:
        if not (clicks or submits) or not text:
            return no_update, no_update
        try:
            _item(store(), text.strip())
        except InputError as error:
            return no_update, warning(str(error))
        return f"?items={','.join([*names, text.strip()])}", None
