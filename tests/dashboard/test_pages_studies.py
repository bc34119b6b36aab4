"""The pages of a study, of a trial and of a comparison in a real browser, served by `trimtab serve` from a prepared store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from dashboard.trials_section import columns_of, shown_of
from tests.api.asking import Service
from tests.dashboard.browsing import browser, drawn, until, visit
from tests.dashboard.conftest import SLO
from tests.dashboard.storing import keep

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from db.rows import StudyRow
    from tests.dashboard.conftest import Stored

__all__ = ["browser", "visit"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(stored: Stored, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yields the address of the page of a study of 42 trials; the service is stopped in the end."""
    path = tmp_path_factory.mktemp("pages") / "studies.db"
    study = keep(path, stored)
    service = Service(path)
    yield f"{service.url}/studies/{study}"
    service.end()


CELL = '.ag-row[row-index="0"] .ag-cell[col-id="device"]'


def to_grid(page: Page) -> None:
    """Scrolls to the trials and waits for their rows, which are not laid out before they can be seen."""
    page.wait_for_selector(CELL, state="attached")
    page.locator(".grid").scroll_into_view_if_needed()
    page.wait_for_selector(CELL)


def test_a_study_shows_answer_frontier_knobs_and_trials(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address, ".answer .sentence")
    for name in ("study-frontier", "study-shares", "study-coordinates", "study-curves"):
        drawn(page, name)
    to_grid(page)
    assert page.inner_text("#study-rows") == "42 trials"
    assert "infeasible" in page.inner_text("#study-rest")


def test_a_tighter_slo_moves_the_frontier_and_the_address(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address, "#study-told")
    before = page.inner_text("#study-told")
    page.click(".whatif summary")
    handle = page.locator(".whatif [role=slider]").first
    handle.focus()
    for _ in range(8):
        handle.press("ArrowLeft")
    until(page, "document.querySelector('#study-told').innerText.startsWith('From the stored curves')")
    # Each press has an answer, one after the other; the last one stays. The handle stands at doublings of the limit.
    moved = float(handle.get_attribute("aria-valuenow") or 0)
    asked = "([...new URLSearchParams(location.search)].find(([name]) => name.startsWith('slo.')) ?? ['slo.', 0])"
    until(page, f"(([name, limit]) => Math.abs(limit / ({json.dumps(SLO)}[name.slice(4)] * 2 ** {moved}) - 1) < 0.01)({asked})")
    told = visit(page.url, "#study-told").inner_text("#study-told")
    assert told != before
    until(page, f"document.querySelector('#study-told').innerText === {json.dumps(told)}")


def test_the_address_chooses_axes_and_colour(address: str, visit: Callable[..., Page]) -> None:
    page = visit(f"{address}?x=rate_rps&y=ttft_p99_s&color=max_num_batched_tokens&yscale=log", "#study-told")
    drawn(page, "study-frontier")
    until(page, "document.querySelector('.xtitle') && document.querySelector('.xtitle').textContent.includes('Arrival rate')")


def test_a_wrong_address_is_told_in_a_line(address: str, visit: Callable[..., Page]) -> None:
    page = visit(f"{address}?x=height", ".warning")
    assert "height" in page.inner_text(".warning")
    assert "usd_per_million_output_tokens" in page.inner_text(".warning")


def test_a_column_sorts_in_the_database(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address, ".grid")
    to_grid(page)
    page.click('.ag-header-cell[col-id="capacity_rps"] .ag-header-cell-label')
    until(
        page,
        "(() => { const cells = [...document.querySelectorAll('.ag-row .ag-cell[col-id=capacity_rps]')]"
        ".map((cell) => [Number(cell.closest('.ag-row').getAttribute('row-index')), parseFloat(cell.innerText)])"
        ".sort((a, b) => a[0] - b[0]).map((pair) => pair[1]); return cells.length > 3"
        " && cells.every((value, i) => !i || value >= cells[i - 1]) && cells[0] < cells[cells.length - 1]; })()",
    )


def test_the_grid_shows_what_a_study_was_asked_for_under_titles_that_break_between_words(
    address: str, visit: Callable[..., Page], study: Callable[..., StudyRow]
) -> None:
    page = visit(address, ".grid")
    to_grid(page)
    title = page.inner_text('.ag-header-cell[col-id="max_num_batched_tokens"] .ag-header-cell-text')
    assert title.split("\u200b") == ["max_", "num_", "batched_", "tokens"]
    sized = study(request={**study().request, "demand": {"rate_rps": 40.0}, "objectives": ["usd_per_hour", "ttft_p99_s"]})
    assert {"usd_per_hour", "ttft_p99_s"} < set(shown_of(sized)) and "capacity_rps" not in shown_of(sized)
    assert "capacity_rps" in shown_of(study()) and "usd_per_hour" not in shown_of(study())
    assert columns_of(sized)["ttft_p99_s"][0] == "TTFT p99 (s)"


def test_a_row_opens_its_trial_and_a_trial_shows_its_parts(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address, ".grid")
    to_grid(page)
    page.click('.ag-row[row-index="0"] .ag-cell[col-id="device"]')
    page.wait_for_selector("#trial-bars")
    drawn(page, "trial-curve-ttft_p99_s")
    drawn(page, "trial-bars-ttft_s")
    assert "trimtab launch" in page.inner_text("#trial-command-0")


@pytest.mark.parametrize(
    ("button", "name", "told"),
    [
        ("#trial-script-vllm", "vllm.sh", "exec vllm serve"),
        ("#trial-on-kubernetes", "vllm.kubernetes.yaml", "kind: Deployment"),
        ("#trial-on-llm_d", "vllm.llm-d.values.yaml", "modelArtifacts:"),
        ("#trial-on-dynamo", "vllm.dynamo.yaml", "kind: DynamoGraphDeployment"),
        ("#trial-load-test", "load-test.sh", "trimtab load"),
    ],
)
def test_what_runs_a_trial_is_downloaded(address: str, visit: Callable[..., Page], button: str, name: str, told: str) -> None:
    page = visit(f"{address}/trials/0", "#trial-load-test")
    with page.expect_download() as caught:
        page.click(button)
    assert caught.value.suggested_filename == name
    assert told in caught.value.path().read_text()
    assert "engine: 'vllm-0.19' is not allowed; allowed: sglang-0.5" in page.inner_text("body"), "what cannot be told says why"


def test_a_trial_without_an_answer_says_why(address: str, visit: Callable[..., Page]) -> None:
    page = visit(f"{address}/trials/36", ".answer .sentence")
    assert "blocks of the KV cache" in page.inner_text(".answer .sentence")


def test_a_trial_that_there_is_not_is_told_in_a_line(address: str, visit: Callable[..., Page]) -> None:
    page = visit(f"{address}/trials/4711", ".warning")
    assert "4711" in page.inner_text(".warning")


def test_trials_are_compared_with_what_differs_marked(address: str, visit: Callable[..., Page]) -> None:
    root, _, study = address.partition("/studies/")
    page = visit(f"{root}/compare?items={study}/0,{study}/20", ".compared", width=800)
    drawn(page, "compare-curve-ttft_p99_s")
    marked = page.eval_on_selector_all("tr:has(td.differs) th", "rows => rows.map((row) => row.innerText)")
    assert "device" in marked and "model" not in marked
    page.fill("#compare-more", f"{study}/7")
    page.click("#compare-add")
    until(page, "document.querySelectorAll('.compared')[0].querySelectorAll('thead th').length === 4")
    page.fill("#compare-more", "nothing/7")
    page.click("#compare-add")
    page.wait_for_selector("#compare-said .warning")
