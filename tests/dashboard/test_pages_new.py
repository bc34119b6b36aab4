"""A new search in a real browser: form and YAML in step, a trace uploaded and searched, wrong input told at its field, a clone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from db import queries, traces
from db.session import open_store
from tests.api.asking import Service
from tests.dashboard.browsing import browser, drawn, until, visit
from tests.dashboard.storing import keep

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.dashboard.conftest import Stored

__all__ = ["browser", "visit"]
pytestmark = pytest.mark.slow
ROWS = 400


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns where the service's store is."""
    return tmp_path_factory.mktemp("new") / "studies.db"


@pytest.fixture(scope="module")
def study(stored: Stored, place: Path) -> str:
    """Returns the id of a study of the store."""
    return keep(place, stored)


@pytest.fixture(scope="module")
def service(place: Path, study: str) -> Iterator[Service]:
    """Yields the pages, without a worker."""
    started = Service(place, "--only", "dashboard")
    yield started
    started.end()


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a recorded trace of ten minutes."""
    rng, path = random.Random(7), tmp_path_factory.mktemp("traces") / "mine.csv"
    rows = [f"{1.5 * row:.1f},{rng.randint(100, 2000)},{rng.randint(10, 300)}" for row in range(ROWS)]
    path.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n" + "\n".join(rows), encoding="utf-8")
    return path


def test_the_form_changes_the_yaml_and_the_yaml_the_form(service: Service, visit: Callable[..., Page]) -> None:
    page = visit(f"{service.url}/new", "#new-size:has-text('72 deployments')")
    drawn(page, "new-lengths")
    drawn(page, "new-rate")
    page.fill("#new-trials", "12")
    until(page, "document.querySelector('#new-yaml').value.includes('trials: 12')")
    page.wait_for_selector("#new-size:has-text('tries 12 of them')")
    text = page.input_value("#new-yaml")
    page.fill("#new-yaml", text.replace("ttft_p99_s: 2.0", "ttft_p90_s: 1.5") + "profiles: [{source: roofline}]\n")
    until(page, "document.querySelector('#new-slo-ttft').value === '1.5'")
    assert "p90" in page.inner_text("#new-slo-ttft-statistic")
    assert "profiles" in page.inner_text("#new-kept")
    page.fill("#new-name", "mine")
    until(page, "document.querySelector('#new-yaml').value.includes('name: mine')")
    assert "source: roofline" in page.input_value("#new-yaml")
    until(page, "location.search.includes('mine')")
    again = visit(page.url, "#new-size:has-text('12 of them')")
    assert again.input_value("#new-name") == "mine"


def test_an_uploaded_trace_is_shown_and_searched(service: Service, place: Path, trace: Path, visit: Callable[..., Page]) -> None:
    page = visit(f"{service.url}/new", "#new-size:has-text('72 deployments')")
    page.click("#new-traffic")
    page.get_by_role("option", name="An uploaded trace").click()
    page.wait_for_selector("#new-trace-wrong:has-text('Upload a trace')")
    page.set_input_files("#new-upload input", str(trace))
    page.wait_for_selector(f"#new-preview:has-text('{ROWS}')")
    drawn(page, "new-lengths")
    drawn(page, "new-rate")
    page.wait_for_selector("#new-submit:enabled")
    page.click("#new-submit")
    page.wait_for_selector("#study-head h1")
    with open_store(place) as store:
        [uploaded] = traces.listed(store)
        asked = queries.study(store, page.url.rpartition("/")[2].partition("?")[0]).request
    assert uploaded.name == trace.name
    assert asked["workload"]["trace"] == f"sha256:{uploaded.sha256}"


def test_a_file_that_is_no_trace_is_told(service: Service, tmp_path: Path, visit: Callable[..., Page]) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("a,b\n1,2\n", encoding="utf-8")
    page = visit(f"{service.url}/new", "#new-size:has-text('72 deployments')")
    page.click("#new-traffic")
    page.get_by_role("option", name="An uploaded trace").click()
    page.wait_for_selector("#new-part-trace:visible")
    # The browser itself notes an answer 422 in its console, which is no error of the page.
    page.route("**/api/v1/traces", lambda route: route.fulfill(status=200, body=route.fetch().text()))
    page.set_input_files("#new-upload input", str(wrong))
    page.wait_for_selector("#new-upload-said:has-text('columns')")


def test_what_is_wrong_is_told_at_its_field_and_nothing_is_sent(service: Service, place: Path, visit: Callable[..., Page]) -> None:
    page = visit(f"{service.url}/new", "#new-size:has-text('72 deployments')")
    page.fill("#new-slo-itl", "-1")
    page.wait_for_selector("#new-slo-itl-wrong:has-text('a positive number of seconds')")
    page.wait_for_selector("#new-submit:disabled")
    text = page.input_value("#new-yaml")
    page.fill("#new-yaml", text.replace("itl_p99_s: -1", "itl_p99_s: 0.2").replace("max_num_seqs: 256", "max_num_seqs: many"))
    page.wait_for_selector("#new-knob-max_num_seqs-wrong:has-text('many')")
    assert page.inner_text("#new-slo-itl-wrong") == ""
    assert page.evaluate("document.querySelector('#new-fold').open")
    page.fill("#new-yaml", "name: [")
    page.wait_for_selector("#new-wrong:has-text('line')")
    page.fill("#new-yaml", text.replace("itl_p99_s: -1", "itl_p99_s: 0.2"))
    page.wait_for_selector("#new-submit:enabled")
    assert page.inner_text("#new-wrong") == ""


def test_a_study_is_cloned_with_a_change(service: Service, place: Path, study: str, visit: Callable[..., Page]) -> None:
    page = visit(f"{service.url}/studies/{study}", "#study-head h1")
    page.click("text=Change and run")
    page.wait_for_selector("#new-size:has-text('deployments')")
    with open_store(place) as store:
        first = queries.study(store, study)
    assert page.input_value("#new-name") == first.name
    page.fill("#new-name", "again")
    until(page, "document.querySelector('#new-yaml').value.includes('name: again')")
    page.wait_for_selector("#new-submit:enabled")
    page.click("#new-submit")
    page.wait_for_selector("#study-head h1:has-text('again')")
    with open_store(place) as store:
        second = queries.study(store, page.url.rpartition("/")[2].partition("?")[0])
    assert second.request["space"] == first.request["space"]
    assert second.request["slo"] == first.request["slo"]
