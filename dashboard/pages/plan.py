"""Plan: a week's demand, the fleet that holds it, what that costs, and what would be if."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component

from dashboard import plan_form as form
from dashboard.background import Background
from dashboard.parts import aria, section, warning
from dashboard.plan_shown import shown
from dashboard.trace_choices import trace_choices
from dashboard.view import View
from db import pages, queries
from db.session import Store
from search import uploads
from search.plan import Plan, PlanRequest, what_if
from search.plan.planning import check_rates
from search.plan.planning import document as planned
from simulator import catalog
from simulator.errors import TrimtabError
from simulator.spec.workload import Workload

TITLE, PATH, NAV = "Plan", "/plan", 4
POLL_MS = 700
STUDIES = 100
LOSSES = {
    "nothing": "nothing",
    "replica": "the loss of a replica",
    "instance": "the loss of an instance",
    "zone": "the loss of a zone",
}
SHAPES = {"preset": "a preset's day", "trace": "an uploaded trace", "forecast": "a table"}
WORK = Background()
Changes = dict[str, Any]


def layout(view: View) -> Component:
    """Returns the form as the address has it; the plan comes when it is asked for."""
    values = form.values_of(view.query)
    return html.Div(
        [
            html.H1("Plan a fleet"),
            html.P(
                "How many replicas each hour of a week needs, what they cost as a static fleet and when they follow the clock, "
                "and what a budget buys.",
                className="caption",
            ),
            *_form(view.store, values),
            html.Div(
                [
                    html.Button("Plan", id="plan-go", type="button", className="main"),
                    html.Button("Cancel", id="plan-cancel", type="button", hidden=True),
                    html.Span(id="plan-told", className="caption", **aria(live="polite")),
                ],
                className="row",
            ),
            html.Div(id="plan-wrong", **aria(live="assertive")),
            dcc.Store(id="plan-key"),
            dcc.Store(id="plan-defaults", data=form.DEFAULTS),
            dcc.Store(id="plan-addressed"),
            dcc.Store(id="plan-asked", data={name: view.query[name] for name in form.WHAT_IF if view.query.get(name)}),
            dcc.Interval(id="plan-poll", interval=POLL_MS, disabled=True),
            _sliders(form.sliders_of(values, view.query)),
            html.Div(id="plan-found", **aria(live="polite")),
        ]
    )


def _form(store: Store, values: form.Values) -> list[Component]:
    done = pages.studies(store, STUDIES, None, pages.Wanted(state="done", words=None))
    studies = [{"label": f"{line.study.name} ({line.study.id})", "value": line.study.id} for line in done]
    kept = trace_choices(store)
    daily = [name for name in catalog.names("workloads") if catalog.preset(name).diurnal is not None]
    return [
        section(
            "Deployments and demand",
            _fields(
                _field("study", "Deployments of", _choice("study", values, studies, "the example: Llama-3.1-8B on H100 or L40S")),
                _field("trial", "Only its trial", _number("trial", values, "its frontier")),
                _field("shape", "The week's shape", _choice("shape", values, SHAPES)),
                _field("preset", "Preset", _choice("preset", values, daily)),
                _field("trace", "Trace", _choice("trace", values, kept, "upload one on the page New search")),
                _field("mean", "Mean of the week (requests/s)", _number("mean", values)),
                _field("growth", "Growth (% a month)", _number("growth", values)),
                _field("months", "Months ahead", _number("months", values)),
                _field("low", "Demand may be as low as (times)", _number("low", values, "not stated")),
                _field("high", "and as high as (times)", _number("high", values, "not stated")),
                _field("percentile", "Planned for its percentile", _number("percentile", values)),
            ),
            html.Details(
                [
                    html.Summary("A table of demand: hour,rate_rps with 24 or 168 rows"),
                    dcc.Textarea(id="plan-forecast", value=values["forecast"] or "", rows=6, className="yaml", **_named("A table")),
                ],
                className="fold",
                open=values["shape"] == "forecast",
            ),
        ),
        section(
            "Fleet and money",
            _fields(
                _field("headroom", "Headroom (%)", _number("headroom", values)),
                _field("survives", "It survives", _choice("survives", values, LOSSES)),
                _field("zones", "Zones", _number("zones", values)),
                _field("start", "Seconds from renting to serving", _number("start", values, "no scaling")),
                _field("stay", "Hours that an instance stays", _number("stay", values)),
                _field("prices", "Prices", _choice("prices", values, catalog.names("prices"))),
                _field("spot", "Spot for at most (% of an hour)", _number("spot", values, "none")),
                _field("budget", "Budget ($ a month)", _number("budget", values, "none")),
            ),
        ),
    ]


def _fields(*fields: Component) -> Component:
    return html.Div(list(fields), className="fields three")


def _field(name: str, label: str, control: Component) -> Component:
    return html.Div([html.Label(label, htmlFor=f"plan-{name}"), control], className="field")


def _named(label: str) -> dict[str, Any]:
    return {"title": label}


def _number(name: str, values: form.Values, nothing: str = "") -> Component:
    return dcc.Input(id=f"plan-{name}", type="number", value=values[name], step="any", placeholder=nothing, debounce=True)


def _choice(name: str, values: form.Values, options: Any, nothing: str = "") -> Component:
    known = options
    if isinstance(options, Mapping):
        known = [{"label": label, "value": value} for value, label in options.items()]
    elif not all(isinstance(each, dict) for each in options):
        known = [{"label": each, "value": each} for each in options]
    value = values[name] if values[name] in {each["value"] for each in known} else None
    return dcc.Dropdown(id=f"plan-{name}", options=known, value=value, clearable=bool(nothing), placeholder=nothing)


def _sliders(at: Sequence[float]) -> Component:
    places = dict(zip(form.WHAT_IF, at, strict=True))

    def slider(name: str, label: str, step: float, marks: dict[float, str]) -> Component:
        (low, high), at = form.WHAT_IF[f"if_{name}"], places[f"if_{name}"]
        control = dcc.Slider(id=f"plan-if-{name}", min=low, max=high, step=step, value=at, marks=marks)
        return html.Div([html.Label(label, id=f"plan-if-{name}-label"), control], className="field")

    return html.Section(
        [
            html.H2("What if"),
            html.P("From the stored latency curves: nothing is simulated again.", className="caption"),
            html.Div(
                [
                    slider("demand", "Demand, times", 0.05, {0.25: "¼", 1.0: "1", 2.0: "2", 4.0: "4"}),
                    slider("headroom", "Headroom, %", 5, {0: "0", 50: "50", 100: "100"}),
                    slider("slo", "SLO, times", 0.05, {0.25: "¼", 1.0: "1", 2.0: "2"}),
                ],
                className="fields three",
            ),
        ],
        id="plan-if",
        hidden=True,
        className="whatif",
    )


def changes_of(before: PlanRequest, slo: Mapping[str, float], demand: float, headroom: float, times: float) -> Changes:
    """Returns the changes of a request that the sliders stand for."""
    changes: Changes = {"fleet": {"headroom": headroom / 100}}
    if times != 1:
        changes["slo"] = {name: limit * times for name, limit in slo.items()}
    if demand != 1:
        asked = before.demand
        # A month's growth is what multiplies a demand of any shape.
        months = asked.months or 1.0
        rate = ((1 + asked.growth_per_month) ** asked.months * demand) ** (1 / months) - 1
        changes["demand"] = {"growth_per_month": rate, "months": months}
    return changes


def register(app: Dash, store: Callable[[], Store]) -> None:
    """Adds planning in the background, its end, and the sliders."""
    fields = [State(f"plan-{name}", "value") for name in form.DEFAULTS]
    sliders = [f"plan-{name.replace('_', '-')}" for name in form.WHAT_IF]

    @app.callback(
        Output("plan-key", "data"),
        Output("plan-poll", "disabled", allow_duplicate=True),
        Output("plan-wrong", "children"),
        Output("plan-told", "children", allow_duplicate=True),
        *(Output(slider, "value") for slider in sliders),
        Input("plan-go", "n_clicks"),
        State("plan-key", "data"),
        State("plan-asked", "data"),
        *fields,
        prevent_initial_call=True,
    )
    def begin(clicks: int | None, before: str | None, asked: dict[str, str] | None, *given: Any) -> tuple[object, ...]:
        if not clicks:
            return (no_update,) * 7
        values = dict(zip(form.DEFAULTS, given, strict=True))
        try:
            request = _request(store(), values)
        except TrimtabError as error:
            return no_update, True, warning(str(error)), "", no_update, no_update, no_update
        key = request.model_dump_json()
        url = store().engine.url.render_as_string(hide_password=False)
        WORK.begin(key, planned, request, url)
        # What an address said of the sliders holds for its own plan alone.
        return key, False, "", "Planning …", *form.sliders_of(values, (asked or {}) if before is None else {})

    @app.callback(
        Output("plan-found", "children"),
        Output("plan-poll", "disabled"),
        Output("plan-told", "children"),
        Output("plan-cancel", "hidden"),
        Output("plan-if", "hidden"),
        Output("plan-wrong", "children", allow_duplicate=True),
        Input("plan-poll", "n_intervals"),
        Input("plan-cancel", "n_clicks"),
        *(Input(slider, "value") for slider in sliders),
        State("plan-key", "data"),
        prevent_initial_call=True,
    )
    def follow(
        ticks: int | None, cancels: int | None, demand: float, headroom: float, times: float, key: str | None
    ) -> tuple[object, ...]:
        if key is None:
            return (no_update,) * 6
        if ctx.triggered_id == "plan-cancel":
            WORK.cancel(key)
            return no_update, True, "Cancelled.", True, True, ""
        answer = WORK.answer(key)
        if answer is None:
            return (
                no_update,
                True,
                "It is not being made (others wait, or the service began anew): ask again.",
                True,
                True,
                "",
            )
        if not answer.done:
            return no_update, False, "Planning: capacities, then the busiest hours are simulated …", False, True, ""
        if answer.error is not None:
            return "", True, "", True, True, warning(answer.error)
        found: Plan = Plan.parse(answer.value)
        try:
            changes = changes_of(found.request, found.slo, demand, headroom, times)
            if demand != 1 or times != 1 or headroom / 100 != found.request.fleet.headroom:
                found = what_if(found, changes)
        except TrimtabError as error:
            return no_update, True, "", True, False, warning(str(error))
        return shown(found), True, "", True, False, ""

    address = ClientsideFunction("trimtab", "planned")
    shared = [Input("plan-key", "data"), *(Input(slider, "value") for slider in sliders), State("plan-defaults", "data"), *fields]
    app.clientside_callback(address, Output("plan-addressed", "data"), *shared, prevent_initial_call=True)  # type: ignore[no-untyped-call]


def _request(store: Store, values: Mapping[str, Any]) -> PlanRequest:
    """Returns the request of the form; raises InputError for what is wrong in it."""
    request = PlanRequest.parse(form.document_of(values))
    if request.study is not None:
        queries.study(store, request.study)
    if request.demand.trace is not None:
        uploads.fetch(store, Workload(trace=request.demand.trace))
    check_rates(request)
    return request
