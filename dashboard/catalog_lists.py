"""The catalog's kinds as tables: devices, models, prices, presets, profiles; each row with all that it is found by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from dash import html
from dash.development.base_component import Component

from dashboard.parts import Content, badge, link, table
from dashboard.report.tables import Cell
from dashboard.request_told import rents
from dashboard.words import ABSENT, count, number, usd
from simulator import catalog
from simulator.optime import profile
from simulator.spec.device import Device

BOOK_KINDS = ("on_demand", "reserved", "spot")


@dataclass(frozen=True)
class Row:
    """One line of a table, and the text by which it is found."""

    cells: Sequence[Content]
    words: str


@dataclass(frozen=True)
class Listing:
    """A table: its columns, which of them are numbers, its rows, and a sentence about it."""

    columns: Sequence[Cell]
    numbers: Sequence[int]
    rows: Sequence[Row]
    caption: str


def shown(listing: Listing, words: str, label: str) -> Component:
    """Returns the rows that have every one of the words in them, as a table."""
    wanted = words.lower().split()
    found = [row.cells for row in listing.rows if all(each in row.words.lower() for each in wanted)]
    if not found:
        return html.P("Nothing in the catalog is like that.", className="caption")
    return table(listing.columns, found, label, numbers=listing.numbers)


def newest_book() -> str:
    """Returns the price book of the latest date."""
    return max(catalog.names("prices"), key=lambda name: catalog.price_book(name).date)


def peak(device: Device) -> float | None:
    """Returns dense FLOP/s of a device in 16 bits."""
    return device.peak_flops_per_s.get("bfloat16") or device.peak_flops_per_s.get("float16")


def devices() -> Listing:
    """Returns every GPU SKU with what decides its times and the least that it costs in the newest book."""
    book = newest_book()
    cheapest, measured = rents(catalog.price_book(book)), {path.parent.name for path in profile.files()}
    columns = [Cell("Device"), Cell("Memory", "GiB"), Cell("Bandwidth", "TB/s"), Cell("Peak, 16 bits", "dense TFLOP/s"),
               Cell("NVLink", "GB/s and direction"), Cell("Rent from", f"a GPU and hour, {book}")]  # fmt: skip
    rows = []
    for name in catalog.names("devices"):
        device, top = catalog.device(name), peak(catalog.device(name))
        nvlink = device.link.nvlink_bytes_per_s
        small = f"{device.vendor} {device.architecture}" + (", own profile" if name in measured else "")
        rows.append(
            Row(
                [
                    html.Div([link(name, f"/catalog?device={quote(name)}"), html.Small(small)]),
                    f"{device.memory_bytes / 2**30:.0f}",
                    f"{device.memory_bandwidth_bytes_per_s / 1e12:.2f}",
                    ABSENT if top is None else f"{top / 1e12:,.0f}",
                    ABSENT if nvlink is None else f"{nvlink / 1e9:,.0f}",
                    usd(cheapest.get(name)),
                ],
                f"{name} {small}",
            )
        )
    return Listing(
        columns, (1, 2, 3, 4, 5), rows, "Every figure has its source on the device's own page, with what its operators take."
    )


def models() -> Listing:
    """Returns every model with its shape."""
    columns = [Cell("Model"), Cell("Family"), Cell("Layers"), Cell("Hidden size"), Cell("Heads", "of queries, of KV"),
               Cell("Experts"), Cell("Context", "tokens")]  # fmt: skip
    rows = []
    for name in catalog.names("models"):
        model = catalog.model(name)
        experts = f"{model.num_local_experts}" if model.num_local_experts else ABSENT
        heads = f"{model.num_attention_heads}, {model.num_key_value_heads}"
        cells: list[Content] = [
            link(name, f"/catalog?model={quote(name)}"),
            model.family,
            f"{model.num_hidden_layers}",
            f"{model.hidden_size:,}",
            heads,
            experts,
            f"{model.max_position_embeddings:,}",
        ]
        kind = "mixture of experts" if model.num_local_experts else "dense"
        rows.append(Row(cells, f"{name} {model.family} {kind}"))
    return Listing(
        columns, (2, 3, 4, 5, 6), rows, "Shapes as in each model's config.json; found by name, family, dense or experts."
    )


def prices(device: str | None = None) -> Listing:
    """Returns every instance of every price book with its date and source, or those with one device."""
    columns = [Cell("Instance"), Cell("GPUs"), Cell("On demand", "an hour"), Cell("Reserved", "an hour"), Cell("Spot", "an hour"),
               Cell("A GPU and hour", "on the book's term"), Cell("Source")]  # fmt: skip
    rows = []
    for name in sorted(catalog.names("prices"), key=lambda name: catalog.price_book(name).date, reverse=True):
        book = catalog.price_book(name)
        for each in (each for each in book.instances if device in (None, each.device)):
            price, source = each.usd_per_hour(book.term), book.sources.get(each.source, each.source)
            where = f"{each.provider}{', ' + each.region if each.region else ''}"
            cells: list[Content] = [
                html.Div([each.name, html.Small(where)]),
                html.Div([f"{each.gpus} \N{MULTIPLICATION SIGN} ", link(each.device, f"/catalog?device={quote(each.device)}")]),
                usd(each.on_demand_usd_per_hour),
                usd(each.reserved_usd_per_hour),
                usd(each.spot_usd_per_hour),
                usd(None if price is None else price / each.gpus),
                html.Div([html.Span(name, title=book.date), html.Small([f"{book.date}: ", *sourced(source)])], className="source"),
            ]
            rows.append(Row(cells, f"{each.name} {where} {each.device} {name} {book.date}"))
    return Listing(
        columns, (2, 3, 4, 5), rows, "List prices before tax, as dated; found by instance, provider, region, device or book."
    )


def presets() -> Listing:
    """Returns every measured workload with its origin."""
    columns = [Cell("Preset"), Cell("What it is"), Cell("Arrivals"), Cell("More"), Cell("Licence")]
    rows = []
    for name in catalog.names("workloads"):
        found = catalog.preset(name)
        parts = {"sessions": found.sessions, "shared prefixes": found.prefix, "daily shape": found.diurnal}
        more = ", ".join(word for word, part in parts.items() if part is not None) or ABSENT
        told = html.Div(
            [found.title, *(html.Small(sourced(text)) for text in list(found.sources.values())[:1])], className="source"
        )
        rows.append(Row([html.Code(name), told, found.arrival.process, more, found.licence], f"{name} {found.title}"))
    return Listing(columns, (), rows, "Lengths and arrivals of recorded traffic; a new search shows each as figures.")


def profiles() -> Listing:
    """Returns what operator times come from: installed profiles, and what else is asked for each device."""
    columns = [Cell("Profile"), Cell("Device"), Cell("Points"), Cell("Measured with"), Cell("Date")]
    rows = []
    for path in profile.files():
        told = profile.about(path)
        points = sum(int((~table_.gaps).sum()) for table_ in profile.tables_of(path).values())
        versions = ", ".join(f"{name} {told[name]}" for name in ("torch", "cuda", "vllm", "driver") if name in told) or ABSENT
        cells: list[Content] = [
            html.Div([path.stem, html.Small(told.get("model") or "every model of its shapes")]),
            link(str(told["device"]), f"/catalog?device={quote(str(told['device']))}"),
            f"{points:,}",
            versions,
            str(told.get("date", ABSENT)),
        ]
        rows.append(Row(cells, f"{path.stem} {told['device']} {told.get('model', '')}"))
    caption = (
        f"{count(len(rows), 'profile')} of this installation's own; `trimtab profile run` measures one, "
        "`trimtab profile import` installs one. "
        "Without one, times come from public tables and, beyond them, from a calibrated roofline: each device's page says which."
    )
    return Listing(columns, (2,), rows, caption)


def sourced(text: str) -> list[Content]:
    """Returns a source with its web addresses as links."""
    found: list[Content] = []
    for place, word in enumerate(text.split()):
        plain = word.rstrip(".,;)")
        if plain.startswith("https://"):
            found += [" " if place else "", html.A(_short(plain), href=plain, rel="noreferrer"), word[len(plain) :]]
        else:
            found.append(f"{' ' if place else ''}{word}")
    return found


def _short(address: str) -> str:
    text = address.removeprefix("https://").removeprefix("www.")
    return text if len(text) <= 60 else f"{text[:57]}\N{HORIZONTAL ELLIPSIS}"


LISTINGS: Mapping[str, tuple[str, Callable[[], Listing]]] = {
    "devices": ("Devices", devices),
    "models": ("Models", models),
    "prices": ("Prices", prices),
    "presets": ("Traffic presets", presets),
    "profiles": ("Profiles", profiles),
}
KINDS = {
    "measured": "measured",
    "interpolated": "interpolated",
    "extrapolated": "extrapolated",
    "roofline": "roofline",
    "absent": "absent",
}


def kind_badge(kind: str) -> Component:
    """Returns a kind of provenance in its colour."""
    return badge(KINDS.get(kind, kind), kind)


def rate(value: float | None, unit: float) -> str:
    """Returns a rate in a unit with three digits; a dash for None."""
    return ABSENT if value is None else number(value / unit)
