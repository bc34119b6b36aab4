"""A trial: one deployment with its knobs, its memory, its latency under load, and a closer look at one load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from dashboard import closer
from dashboard.advice import advice_of
from dashboard.axis import axis_of
from dashboard.background import SHARED
from dashboard.figures import latency_curve, memory, quantiles
from dashboard.frames import curves_frame, ends
from dashboard.launching import commands
from dashboard.parts import Content, aria, badge, chart, facts, link, section, table, tiles
from dashboard.report.answer import Tile
from dashboard.report.provenance import provenance_of
from dashboard.report.tables import Cell
from dashboard.view import View
from dashboard.words import ABSENT, deployment_title, knob, number, quantity, rent, seconds, spoken, usd
from db import queries
from db.rows import StudyRow, TrialRow
from db.session import Store
from simulator import catalog
from simulator.errors import InputError
from simulator.expected.words import NOT_WORKED_OUT
from simulator.spec.slo import TERMS

TITLE, PATH, NAV = "Trial", "/studies/{study}/trials/{trial}", 0
LATENCIES = ("ttft_s", "tpot_s", "itl_s", "e2e_s")
ALWAYS = ("ttft_p99_s", "itl_p99_s")
PARTS = {
    "weights_bytes": "weights",
    "kv_bytes": "KV cache",
    "activation_bytes": "activations",
    "graph_bytes": "CUDA graphs",
    "startup_bytes": "start-up",
    "overhead_bytes": "overhead",
    "window_bytes": "window",
}


def layout(view: View) -> Component:
    """Returns the page of a trial; `rate` of the address chooses the load whose distributions are shown."""
    study, trial = found(view.store, view.params["study"], view.params["trial"])
    rates = [float(item["rate_rps"]) for item in trial.curve]
    rate = _chosen(rates, view.query.get("rate"), trial)
    return html.Div(
        [
            dcc.Store(id="trial-at", data={"study": study.id, "trial": trial.number}),
            _head(study, trial),
            _summary(study, trial),
            *_curves(study, trial),
            _distributions(study, trial, rates, rate),
            closer.section_of("trial"),
            _deployment(trial),
            _memory(trial),
            _origin(study, trial),
            _probes(study, trial),
            commands(study, trial),
        ]
    )


def found(store: Store, study: str, number_text: str) -> tuple[StudyRow, TrialRow]:
    """Returns a study and one of its trials; raises InputError for one that there is not."""
    row = queries.study(store, study)
    if not number_text.isdigit():
        raise InputError("trial", number_text, "the number of a trial")
    return row, queries.trial(store, row.id, int(number_text))


def _chosen(rates: list[float], asked: str | None, trial: TrialRow) -> float | None:
    """Returns the stored rate nearest to the one asked for, else to the capacity, from below where there is one."""
    if not rates:
        return None
    try:
        wanted = float(asked) if asked else (trial.capacity_low_rps or trial.capacity_rps or rates[-1])
    except ValueError:
        raise InputError("rate", asked, "requests a second") from None
    return min(rates, key=lambda rate: abs(rate - wanted))


def _head(study: StudyRow, trial: TrialRow) -> Component:
    here = f"{study.id}/{trial.number}"
    buttons = [
        link("Compare", f"/compare?items={here}", "button"),
        link("Plan", f"/plan?study={study.id}&trial={trial.number}", "button"),
        link("Change and run", f"/new?clone={study.id}", "button"),
        link("The study", f"/studies/{study.id}", "button"),
    ]
    title = html.H1([deployment_title(trial.deployment), " ", badge(trial.state)])
    under = f"trial {trial.number} of {study.name}, scored on {trial.fidelity:,} requests a run"
    return html.Div(
        [html.Div([title, html.Div(buttons, className="row")], className="row apart"), html.P(under, className="caption")]
    )


def _summary(study: StudyRow, trial: TrialRow) -> Component:
    if trial.state != "done":
        return html.Section([html.P(trial.reason or "No reason is stored.", className="sentence")], className="answer")
    metrics = trial.metrics or {}
    at = [Tile("Objective" if len(trial.objectives) == 1 else axis.brief, axis.text(value)) for axis, value in _objectives(trial)]
    capacity = []
    if trial.capacity_rps is not None:
        level = f"{trial.capacity_level:.0%} interval " if trial.capacity_level else ""
        capacity = [Tile("Capacity (requests/s)", number(trial.capacity_rps), f"{level}{ends(trial)}")]
    money = [Tile("Rent", f"{usd(trial.bill['usd_per_hour'])} / h", rent(trial.bill))] if trial.bill else []
    limits = (
        [Tile("Ends its capacity" if capacity else "Breaks first with more load", spoken(trial.binding))] if trial.binding else []
    )
    advice = advice_of(trial.deployment, metrics, trial.binding, study.request.get("slo") or {})
    told = [html.Li([html.Strong(f"{each.case}: "), each.text, html.Small(each.rule)]) for each in advice]
    parts: list[Content] = [tiles([*capacity, *limits, *money, *at])]
    parts += [html.H3("What holds it back"), html.Ul(told, className="notes")] if told else []
    error = _error(trial)
    parts += [html.P(error, className="caption")]
    return html.Section(parts, className="answer", **aria(label="Summary"))


def _objectives(trial: TrialRow) -> list[tuple[Any, float | None]]:
    return [(axis_of(name, {}), value) for name, value in trial.objectives.items() if name != "capacity_rps"]


def _error(trial: TrialRow) -> str:
    stored = trial.provenance.get("expected_errors") or []
    if not stored:
        return f"Its expected error was {NOT_WORKED_OUT}."
    return str(stored[-1]["expected_error"].get("text") or "Expected error: not validated")


def _curves(study: StudyRow, trial: TrialRow) -> list[Component]:
    if len(trial.curve) < 2:
        return []
    frame = curves_frame([trial])
    slo = study.request.get("slo") or {}
    demand = (study.request.get("demand") or {}).get("rate_rps")
    names = [n for n in dict.fromkeys([*ALWAYS, *(n for n in slo if n in TERMS)]) if frame[n].notna().any()]
    palette = {frame["device"].iloc[0]: "#2b62d9"}
    drawn = []
    for name in names:
        axis = axis_of(name, slo)
        drawing = latency_curve.figure(frame, axis, palette, demand)
        saturated = trial.saturated_rps
        drawing.update_layout(showlegend=False, height=340)
        told = f"{axis.short} against the arrival rate"
        drawn.append(html.Div([html.H3(axis.short), chart(f"trial-curve-{name}", drawing, told)], className="panel"))
    knee = f" It saturates at {number(saturated)} requests/s." if saturated else ""
    caption = f"The line up is the capacity, the band its interval, the dashed line the SLO.{knee}"
    return [section("Latency against load", html.Div(drawn, className="pair"), caption=caption)]


def _distributions(study: StudyRow, trial: TrialRow, rates: list[float], rate: float | None) -> Component | None:
    if rate is None:
        return None
    pick = dcc.Dropdown(
        id="trial-rate",
        options=[{"label": f"{number(each)} requests/s", "value": each} for each in rates],
        value=rate,
        clearable=False,
        style={"width": "200px"},
    )
    label = html.Label("At a load of", htmlFor="trial-rate")
    return section(
        "Distributions",
        html.Div([label, pick], className="row"),
        html.Div(bars(study, trial, rate), id="trial-bars", className="pair"),
        caption="Nearest-rank quantiles of the stored run; red marks are the SLO.",
    )


def bars(study: StudyRow, trial: TrialRow, rate: float) -> list[html.Div]:
    """Returns a panel of quantiles for each latency at one of the stored rates."""
    metrics = next((item["metrics"] for item in trial.curve if item["rate_rps"] == rate), None) or {}
    slo = study.request.get("slo") or {}
    panels = []
    for name in LATENCIES:
        if (metrics.get(name) or {}).get("p50") is None:
            continue
        drawing = quantiles.figure([(spoken(name), metrics[name])], limits_of(slo, name))
        panels.append(
            html.Div(
                [html.H3(spoken(name)), chart(f"trial-bars-{name}", drawing, f"Quantiles of {spoken(name)}")], className="panel"
            )
        )
    return panels


def limits_of(slo: Mapping[str, Any], latency: str) -> dict[str, float]:
    """Returns the SLO's bounds on a latency (`ttft_s`) by statistic."""
    kind = latency.removesuffix("_s")
    return {name.split("_")[1]: float(limit) for name, limit in slo.items() if name in TERMS and name.split("_")[0] == kind}


def _deployment(trial: TrialRow) -> Component:
    pairs: list[tuple[str, Content]] = [(name, _plain(name, value)) for name, value in trial.deployment.items()]
    return section("Deployment", facts(pairs), caption="Every knob as it was resolved, by its flag's name.", name="knobs")


def _plain(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Mapping):
        return knob(name, value) if value else "by default"
    return ABSENT if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _memory(trial: TrialRow) -> Component | None:
    stored = trial.memory
    if not stored:
        return None
    parts = [(told, float(stored[name])) for name, told in PARTS.items() if stored.get(name)]
    try:
        whole = float(catalog.device(trial.deployment["device"], "device").memory_bytes)
    except InputError:
        # A device of another machine's own catalog.
        whole = sum(size for _, size in parts)
    blocks = f"{stored['num_blocks']:,} KV blocks of {trial.deployment['block_size']:,} tokens" if stored.get("num_blocks") else ""
    used = f"gpu_memory_utilization is {trial.deployment.get('gpu_memory_utilization')}"
    caption = " · ".join(part for part in (blocks, used) if part)
    return section(
        "Memory of a GPU", chart("trial-memory", memory.figure(parts, whole), "Memory of one GPU by use"), caption=caption
    )


def _origin(study: StudyRow, trial: TrialRow) -> Component | None:
    told = provenance_of(study, [trial])
    if not told.operators:
        return None
    rows: list[list[Content]] = []
    for name, origins in told.operators:
        origin = origins[0]
        if origin is not None:
            rows.append([name.replace("_", " "), badge(origin.kind), origin.shares or ABSENT, origin.source or ABSENT])
    columns = [Cell("Operator"), Cell("Times"), Cell("Points"), Cell("Source")]
    grid = html.Details([html.Summary("Every operator"), table(columns, rows, "Operators")])
    sources = html.P(" · ".join(f"{source} ({versions})" for source, versions in told.sources), className="caption")
    return section("Where its times come from", grid, sources, caption=" ".join(told.sentences))


def _probes(study: StudyRow, trial: TrialRow) -> Component | None:
    if not trial.curve:
        return None
    names = list(dict.fromkeys([*ALWAYS, *(n for n in (study.request.get("slo") or {}) if n in TERMS)]))
    rows: list[list[Content]] = []
    for item in trial.curve:
        metrics = item["metrics"]
        met = metrics.get("slo_met")
        kept = ABSENT if met is None else badge("kept", "done") if met else badge("broken", "failed")
        values = [(metrics.get(f"{n.split('_')[0]}_s") or {}).get(n.split("_")[1]) for n in names]
        shown = [metrics.get(key) for key in ("mean_batch_size", "kv_utilization", "mfu", "busy_share")]
        used = [ABSENT if v is None else (number(v) if place == 0 else f"{v:.0%}") for place, v in enumerate(shown)]
        dollars = quantity(metrics.get("usd_per_million_output_tokens"), "USD")
        rows.append([number(item["rate_rps"]), kept, *(seconds(v) for v in values), dollars, *used, f"{metrics['preemptions']:,}"])
    columns = [Cell("Requests/s"), Cell("SLO"), *(Cell(spoken(n)) for n in names), Cell("$ per M output")]
    columns += [Cell("Batch"), Cell("KV in use"), Cell("MFU"), Cell("Busy"), Cell("Preemptions")]
    told = table(columns, rows, "Every load that was run", range(2, len(columns)))
    return section(
        "Every load that is stored", told, caption="The runs of the search for its capacity that make its latency curve."
    )


def register(app: Dash, store: Callable[[], Store]) -> None:
    """Adds the choice of a load and the closer look."""

    @app.callback(
        Output("trial-bars", "children"),
        Input("trial-rate", "value"),
        State("trial-at", "data"),
        prevent_initial_call=True,
    )
    def at_rate(rate: float | None, at: dict[str, Any]) -> object:
        if rate is None:
            return no_update
        study, trial = found(store(), at["study"], str(at["trial"]))
        return bars(study, trial, rate)

    closer.register(app, store, SHARED)
