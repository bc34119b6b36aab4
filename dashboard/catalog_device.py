"""A device of the catalog: its figures with their sources, what it rents for, and what each operator takes on it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from dash import dcc, html
from dash.development.base_component import Component

from dashboard.catalog_lists import kind_badge, peak, prices, rate, shown, sourced
from dashboard.figures import operator_curves as drawing
from dashboard.parts import Content, aria, chart, facts, section, table, warning
from dashboard.report.tables import Cell
from dashboard.words import ABSENT, seconds
from simulator import catalog
from simulator.curves import DECODE_KV, MOST_TOKENS, OperatorCurve, operator_curves
from simulator.errors import InputError, TrimtabError
from simulator.resolve import resolve
from simulator.spec.deployment import Deployment

MODEL = "meta-llama/Llama-3.1-8B"
PARALLEL = ("1", "2", "4", "8")
EXTENTS = {
    "tokens": "scheduled tokens",
    "prompt tokens": "tokens of a chunk",
    "decodes": "sequences that decode",
    "sequences": "sequences sampled",
}


def sections(name: str, model: str, parallel: str) -> list[Component]:
    """Returns a device's page; raises InputError for an unknown device or model and a parallelism that is not offered."""
    device = catalog.device(name)
    catalog.model(model)
    if parallel not in PARALLEL:
        raise InputError("tp", parallel, ", ".join(PARALLEL))
    link_ = device.link
    told: list[tuple[str, Content]] = [
        ("Vendor", f"{device.vendor} {device.architecture}"),
        ("Memory", f"{device.memory_bytes / 2**30:.1f} GiB"),
        ("Bandwidth", f"{rate(device.memory_bandwidth_bytes_per_s, 1e12)} TB/s"),
        ("Peak, 16 bits dense", f"{rate(peak(device), 1e12)} TFLOP/s"),
        (
            "Peak, FP8 dense",
            f"{rate(device.peak_flops_per_s.get('fp8'), 1e12)} TFLOP/s" if "fp8" in device.peak_flops_per_s else ABSENT,
        ),
        (
            "NVLink",
            f"{rate(link_.nvlink_bytes_per_s, 1e9)} GB/s among {link_.nvlink_island}" if link_.nvlink_bytes_per_s else ABSENT,
        ),
        ("PCIe", f"{rate(link_.pcie_bytes_per_s, 1e9)} GB/s"),
        ("GPUs of a node", f"{link_.gpus_per_node}"),
        ("Power", f"{device.power_w:.0f} W" if device.power_w else ABSENT),
    ]
    origins = [html.Li([html.Code(field), ": ", *sourced(text)]) for field, text in device.sources.items()]
    folded = html.Details([html.Summary("Where each figure comes from"), html.Ul(origins, className="notes")])
    return [
        section("What it is", facts(told), folded),
        section(
            "Operator times", *_chooser(model, parallel), html.Div(id="catalog-curves", **aria(live="polite")), caption=_caption()
        ),
        section("What it rents for", shown(prices(name), "", f"Prices of {name}")),
    ]


def _caption() -> str:
    return (
        f"Each operator of one GPU, all layers together, up to {MOST_TOKENS:,} tokens, as every search prices them. "
        f"Solid lines are measured or lie between measured points, dotted ones come from the roofline or beyond."
    )


def _chooser(model: str, parallel: str) -> list[Component]:
    models = [{"label": name, "value": name} for name in catalog.names("models")]
    degrees = [{"label": f"TP {each}", "value": each} for each in PARALLEL]
    pick = dcc.Dropdown(id="catalog-model", options=models, value=model, clearable=False)
    degree = dcc.Dropdown(id="catalog-tp", options=degrees, value=parallel, clearable=False, searchable=False)
    labelled = [("Model", "catalog-model", pick), ("Tensor parallel", "catalog-tp", degree)]
    fields = [html.Div([html.Label(title, htmlFor=name), control]) for title, name, control in labelled]
    return [html.Div(fields, className="controls few")]


@lru_cache(maxsize=64)
def curves_of(device: str, model: str, parallel: int) -> tuple[OperatorCurve, ...]:
    """Returns the curves of a deployment with the engine's defaults; raises InputError or Infeasible where there is none."""
    asked = Deployment.parse({"model": model, "device": device, "tensor_parallel_size": parallel})
    return tuple(operator_curves(resolve(asked, "deployment")))


def curves(device: str, model: str, parallel: int) -> Component:
    """Returns a figure for each extent that operators are priced by, and a table of provenance; a line where there is none."""
    try:
        found = curves_of(device, model, parallel)
    except TrimtabError as error:
        return warning(str(error))
    panels = []
    for extent, label in EXTENTS.items():
        lines = [_line(each) for each in found if each.extent == extent]
        if lines:
            title = f"By {label}" + (f", each with {DECODE_KV:,} tokens of KV" if extent == "decodes" else "")
            alt = f"Time of each operator over {label}"
            panels.append(
                html.Div(
                    [html.H3(title), chart(f"catalog-{extent.replace(' ', '-')}", drawing.figure(lines, label), alt)],
                    className="panel",
                )
            )
    return html.Div([html.Div(panels, className="pair"), html.H3("Where they come from"), _provenance(found)])


def _line(each: OperatorCurve) -> drawing.Line:
    origin = each.origin.source or "no source"
    return drawing.Line(each.name, origin, each.origin.kind, each.tokens.tolist(), each.seconds.tolist())


def _provenance(found: Sequence[OperatorCurve]) -> Component:
    columns = [Cell("Operator"), Cell("Kernels", "an iteration"), Cell("Over"), Cell("Smallest"), Cell("Largest")]
    columns += [Cell("Kind"), Cell("Points"), Cell("Source")]
    rows: list[list[Content]] = []
    for each in found:
        points = ", ".join(f"{amount} {kind}" for kind, amount in each.origin.points.items())
        versions = ", ".join(f"{name} {version}" for name, version in each.origin.versions.items())
        source = html.Div([each.origin.source or ABSENT, html.Small(versions) if versions else None])
        least, most = seconds(float(each.seconds[0])), seconds(float(each.seconds[-1]))
        rows.append(
            [html.Code(each.name), f"{each.count}", EXTENTS[each.extent], least, most, kind_badge(each.origin.kind), points, source]
        )
    return table(columns, rows, "Provenance of operator times", numbers=(1, 3, 4))
