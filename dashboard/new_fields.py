"""The fields of a new search: a label, a control, a hint and a place for what is wrong, in the groups in which they are asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from dashboard import request_form as form
from dashboard.parts import Content, aria, link
from dashboard.words import spoken
from search import objectives, samplers
from simulator import catalog
from simulator.spec.slo import LATENCIES, STATISTICS

WORDS = {
    "preset": "A measured preset",
    "trace": "An uploaded trace",
    "numbers": "Numbers",
    form.YAML: "As the YAML says",
}
SLO_WORDS = {"ttft": "time to first token", "tpot": "time per output token", "itl": "gap between tokens", "e2e": "whole answer"}
KNOB_HINTS = {
    "tensor_parallel_size": "values, as 1, 2, 4, or 1..8 log2",
    "replicas": "left out where a load is given, which decides it",
    "gpu_memory_utilization": "a share, as 0.9",
}
FRONT = ("device", "tensor_parallel_size")
# What most people change first stands first in the fold.
FIRST = ("scheduler", "max_num_batched_tokens", "max_num_seqs", "max_model_len", "pipeline_parallel_size", "replicas", "router")
Control = Callable[[str, Any], Component]


def id_of(field: str) -> str:
    """Returns the id of a field's control."""
    return "new-" + field.replace(".", "-")


def wrong_id(field: str) -> str:
    """Returns the id of the line that says what is wrong with a field."""
    return f"{id_of(field)}-wrong"


def _field(
    name: str, label: str, control: Component, wrong: Mapping[str, str], hint: Content = None, wide: bool = False
) -> Component:
    said = html.P(wrong.get(name, ""), id=wrong_id(name), className="wrong", **aria(live="polite"))
    small = html.Small(hint) if hint else None
    return html.Div([html.Label(label, htmlFor=id_of(name)), control, small, said], className=f"field{' wide' if wide else ''}")


def _text(name: str, value: Any, placeholder: str = "") -> Component:
    return dcc.Input(id=id_of(name), type="text", value=value or "", debounce=0.4, placeholder=placeholder, autoComplete="off")


def _number(name: str, value: Any, placeholder: str = "") -> Component:
    return dcc.Input(id=id_of(name), type="number", value=value, debounce=0.4, step="any", placeholder=placeholder)


def _choice(
    name: str, value: Any, options: Sequence[Any], multi: bool = False, clearable: bool = False, placeholder: str = ""
) -> Component:
    return dcc.Dropdown(
        id=id_of(name),
        options=with_present(options, value),
        value=value,
        multi=multi,
        clearable=clearable or multi,
        placeholder=placeholder,
    )


def with_present(options: Sequence[Any], value: Any) -> list[Any]:
    """Returns the options and whatever is chosen beside them, which the browser would otherwise take away."""
    known = {each["value"] for each in options}
    chosen = value if isinstance(value, list) else [] if value is None else [value]
    return [*options, *({"label": each, "value": each} for each in chosen if each not in known)]


def plain(names: Iterable[str]) -> list[dict[str, str]]:
    """Returns options that are called what they are."""
    return [{"label": name, "value": name} for name in names]


def model_group(values: form.Values, wrong: Mapping[str, str]) -> list[Component]:
    """Returns the name of the search and the model."""
    models = plain(catalog.names("models"))
    return [
        _field("name", "Name", _text("name", values["name"]), wrong),
        _field(
            "model",
            "Model",
            _choice("model", values["model"], models),
            wrong,
            link("Models in the catalog", "/catalog?kind=models"),
        ),
    ]


def origin_group(values: form.Values, wrong: Mapping[str, str]) -> Component:
    """Returns the choice of where traffic comes from."""
    kinds = [kind for kind in form.ORIGINS if kind != form.YAML or values["traffic"] == kind]
    options = [{"label": WORDS[kind], "value": kind} for kind in kinds]
    return _field("traffic", "Requests like those of", _choice("traffic", values["traffic"], options), wrong)


def preset_part(values: form.Values, wrong: Mapping[str, str]) -> Component:
    """Returns the choice of a preset."""
    titles = [{"label": f"{name}: {catalog.preset(name).title}", "value": name} for name in catalog.names("workloads")]
    return _field("preset", "Preset", _choice("preset", values["preset"], titles), wrong, wide=True)


def trace_part(values: form.Values, wrong: Mapping[str, str], traces: Sequence[Any]) -> list[Component]:
    """Returns the choice of an uploaded trace, and where to drop another one."""
    upload = dcc.Upload(
        ["Drop a trace here, or ", html.Span("choose a file", className="as-link")],
        id="new-upload",
        className="drop",
        max_size=64 * 2**20,
        className_active="drop active",
    )
    hint = (
        "CSV or JSON Lines, plain or gzip: prompt_tokens, output_tokens, arrival_s; or the formats of Azure, Vidur, Mooncake, "
        "BurstGPT, Bailian, OpenAI-style logs. It stays on this service."
    )
    return [
        _field("trace", "Trace", _choice("trace", values["trace"], traces, placeholder="None uploaded yet"), wrong),
        html.Div(
            [html.Label("Upload"), upload, html.Small(hint), html.P(id="new-upload-said", className="wrong", role="alert")],
            className="field",
        ),
    ]


def length_part(values: form.Values, wrong: Mapping[str, str]) -> list[Component]:
    """Returns the parts of both distributions of lengths."""
    found = []
    for kind in form.LENGTHS:
        word = kind.capitalize()
        found += [
            _field(f"{kind}.median", f"{word} tokens, median", _number(f"{kind}.median", values[f"{kind}.median"]), wrong),
            _field(
                f"{kind}.sigma", "Spread (sigma)", _number(f"{kind}.sigma", values[f"{kind}.sigma"], "none: always the same"), wrong
            ),
            _field(f"{kind}.max", "At most", _number(f"{kind}.max", values[f"{kind}.max"], "with a spread"), wrong),
        ]
    return found


def rate_field(values: form.Values, wrong: Mapping[str, str]) -> Component:
    """Returns the load that fleets are sized for."""
    control = _number("rate", values["rate"], "its own capacity")
    return _field(
        "rate", "Load to size for (requests/s)", control, wrong, "Left empty, each deployment is judged at its own capacity."
    )


def slo_group(values: form.Values, wrong: Mapping[str, str]) -> list[Component]:
    """Returns a statistic and a limit for each latency."""
    found = []
    for latency in LATENCIES:
        name = f"slo.{latency}"
        pick = dcc.Dropdown(
            id=id_of(f"{name}.statistic"),
            options=list(STATISTICS),
            value=values[f"{name}.statistic"],
            clearable=False,
            searchable=False,
        )
        both = html.Div([pick, _number(name, values[name], "no limit")], className="bound")
        label = f"{spoken(latency)} (s)"
        found.append(_field(name, label, both, wrong, SLO_WORDS[latency]))
    return found


def money_group(values: form.Values, wrong: Mapping[str, str]) -> list[Component]:
    """Returns SKUs, prices and the size of a fleet."""
    books = plain(catalog.names("prices"))
    hint = link("Devices and prices in the catalog", "/catalog")
    return [
        _field(
            "knob.device",
            "GPU SKUs",
            _choice("knob.device", values["knob.device"], plain(catalog.names("devices")), multi=True),
            wrong,
            hint,
            wide=True,
        ),
        _field("prices", "Price book", _choice("prices", values["prices"], books, clearable=True, placeholder="No dollars"), wrong),
        _knob("tensor_parallel_size", values, wrong),
        _field("max_gpus", "GPUs of a fleet, at most", _number("max_gpus", values["max_gpus"]), wrong),
    ]


def goal_group(values: form.Values, wrong: Mapping[str, str]) -> list[Component]:
    """Returns the objectives and the budget."""
    options = []
    for name in objectives.names():
        found = objectives.load(name)
        options.append({"label": f"{found.direction} {name}", "value": name})
    pick = _choice("objectives", values["objectives"], options, multi=True)
    return [
        _field("objectives", "Objectives, the first ranks the answers", pick, wrong, wide=True),
        _field("trials", "Deployments to try, at most", _number("trials", values["trials"]), wrong),
    ]


def knob_group(values: form.Values, wrong: Mapping[str, str]) -> list[Component]:
    """Returns the knobs that are seldom searched, and how the search runs."""
    rest = [name for name in form.KNOBS if name not in FRONT]
    ordered = [*FIRST, *(name for name in rest if name not in FIRST)]
    return [
        *(_knob(name, values, wrong) for name in ordered),
        _field("engine", "Engine", _choice("engine", values["engine"], plain(catalog.names("engines"))), wrong),
        _field("sampler", "Sampler", _choice("sampler", values["sampler"], plain(samplers.names())), wrong),
        _field("seed", "Seed", _number("seed", values["seed"]), wrong),
    ]


def _knob(knob: str, values: form.Values, wrong: Mapping[str, str]) -> Component:
    name, default = f"knob.{knob}", "engine's default"
    if form.is_chosen(knob):
        known = {"scheduler": "schedulers", "router": "routers", "device": "devices"}
        options = plain(catalog.names(known[knob]) if knob in known else form.choices(knob))
        control = _choice(name, values[name], options, multi=True, placeholder=default)
    else:
        control = _text(name, values[name], default)
    return _field(name, knob, control, wrong, KNOB_HINTS.get(knob))


# Every field but the statistics, whose bound says what is wrong.
WITH_LINE = tuple(name for name in form.FIELDS if not name.endswith(".statistic"))


def names_of(field: str) -> tuple[str, ...]:
    """Returns the objectives, or the samplers, that there are."""
    return objectives.names() if field == "objectives" else samplers.names()
