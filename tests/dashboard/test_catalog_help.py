"""Catalog and help as functions: lists that find by words, figures of operator times, a glossary that the documentation shares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dashboard import catalog_lists, glossary, known_errors, request_told
from dashboard.example import REQUEST
from dashboard.figures import arrivals, lengths, operator_curves
from dashboard.pages import help as help_page
from simulator import catalog, curves
from simulator.resolve import resolve
from simulator.spec.deployment import Deployment
from simulator.stepcost import price_list

ROOT = Path(__file__).parents[2]


def test_the_documentation_has_the_glossary_that_ships() -> None:
    assert (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8") == glossary.FILE.read_text(encoding="utf-8")
    assert '"**/*.md"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_every_word_of_the_glossary_has_its_meaning() -> None:
    tables = glossary.words()
    lines = [line for line in glossary.FILE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert sum(len(rows) for rows in tables.values()) == len(lines) - len(tables)
    assert all(word and text and "](" not in text for rows in tables.values() for word, text in rows)
    assert len(help_page.listed("")) == 2 * len(tables)


@pytest.mark.parametrize("kind", catalog_lists.LISTINGS)
def test_a_listing_has_a_cell_a_column(kind: str) -> None:
    listing = catalog_lists.LISTINGS[kind][1]()
    assert all(len(row.cells) == len(listing.columns) for row in listing.rows)
    if kind in ("devices", "models"):
        assert len(listing.rows) == len(catalog.names(kind))


def test_prices_of_a_device_are_those_of_its_instances() -> None:
    books = [catalog.price_book(name) for name in catalog.names("prices")]
    assert len(catalog_lists.prices("L4").rows) == sum(each.device == "L4" for book in books for each in book.instances)


def test_sources_with_addresses_become_links_and_lose_no_word() -> None:
    parts = catalog_lists.sourced("half of 900 GB/s: https://example.org/a; the same in tables")
    assert "".join(part if isinstance(part, str) else getattr(part, "href", "") for part in parts if part is not None) == (
        "half of 900 GB/s: https://example.org/a; the same in tables"
    )


def test_errors_tell_every_device_that_was_measured() -> None:
    devices = {error.device for of in known_errors.sets("operators") for error in of.errors if error.device}
    text = str(known_errors.operators())
    assert all(device in text for device in devices)
    assert known_errors.memory()


def test_operator_curves_have_every_operator_of_the_price_list() -> None:
    deployment = resolve(
        Deployment.parse({"model": "meta-llama/Llama-3.1-8B", "device": "A10G", "max_model_len": 4096, "tensor_parallel_size": 2})
    )
    found = curves.operator_curves(deployment, 64)
    _, provenance = price_list(deployment)
    priced = {name for name, origin in provenance.operators.items() if origin.points}
    assert priced - {each.name for each in found} <= {"host_overhead", "send_recv"}
    for each in found:
        assert each.seconds.shape == each.tokens.shape
        assert (each.seconds > 0).all() and (np.diff(each.seconds) >= -1e-9).all()


def test_the_slowest_operator_comes_first_and_unmeasured_ones_are_dotted() -> None:
    lines = [
        operator_curves.Line("a", "x", "measured", [1, 2], [1e-6, 2e-6]),
        operator_curves.Line("b", "roofline", "roofline", [1, 2], [1e-6, 3e-6]),
    ]
    drawing = operator_curves.figure(lines, "tokens")
    assert [trace.name for trace in drawing.data] == ["b", "a"]
    assert [trace.line.dash for trace in drawing.data] == ["dot", "solid"]


def test_lengths_are_shares_of_requests() -> None:
    drawing = lengths.figure([("prompt", [1, 10, 100, 1000]), ("output", [5] * 7)])
    for trace in drawing.data:
        assert sum(trace.y[::2]) == pytest.approx(1)


def test_recorded_rates_count_every_request() -> None:
    times = np.sort(np.random.default_rng(1).uniform(3, 3603, 2000))
    drawing = arrivals.recorded(times)
    trace = drawing.data[0]
    span = (times[-1] - times[0]) / len(trace.y)
    assert sum(trace.y) * span == pytest.approx(len(times))
    assert drawing.layout.xaxis.title.text == "minutes"


@pytest.mark.parametrize("times", [[4.0], [4.0, 4.0], [0.0, 1e-9]])
def test_a_trace_of_no_length_is_still_drawn(times: list[float]) -> None:
    assert len(arrivals.recorded(times).data[0].y) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model": "no/such"}, ""),
        ({"slo": {"itl_p99_s": 0}}, "slo.itl"),
        ({"slo": {"e2e_p99_ms": 5}}, "slo.e2e"),
        ({"budget": {"trials": 0}}, "trials"),
        ({"demand": {"rate_rps": -1}}, "rate"),
        ({"prices": "none"}, "prices"),
        ({"workload": {"preset": "nothing"}}, "preset"),
        ({"workload": {"trace": None}}, "trace"),
        ({"workload": {"prompt_tokens": {"lognormal": {"median": 5, "sigma": 1}}, "output_tokens": 5}}, "prompt.median"),
        ({"workload": {"preset": "chat", "users": -1}}, "traffic"),
        ({"space": {"device": ["H100"]}}, "knob.device"),
        ({"space": {"device": ["L4"], "max_num_seqs": "x"}}, "knob.max_num_seqs"),
        ({"objectives": ["speed"]}, "objectives"),
        ({"later": 1}, ""),
    ],
)
def test_what_is_wrong_is_told_at_the_field_that_shows_it(change: dict[str, object], field: str) -> None:
    found = request_told.checked({**REQUEST, **change})
    expected = "model" if "model" in change else field
    assert found.request is None and list(found.wrong) == [expected]
    assert "allowed:" in found.wrong[expected] or found.wrong[expected].endswith(".")


def test_size_and_time_follow_from_the_space_and_the_budget() -> None:
    request = request_told.checked({**REQUEST, "budget": {"trials": 10}}).request
    assert request is not None
    size = request_told.size_of(request)
    assert (size.combinations, size.legal, size.trials) == (72, 72, 10)
    assert request_told.sentences(size, 4) == ("72 deployments; the budget tries 10 of them", "About 10 s on 4 cores")
    wide = request_told.checked({**REQUEST, "space": {"device": "L4", "max_num_seqs": {"low": 1, "high": 5000, "step": 1}}}).request
    assert wide is not None and request_told.size_of(wide).legal is None
