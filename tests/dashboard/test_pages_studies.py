"""The pages of a study, of a trial and of a comparison in a real browser, served by `trimtab serve` from a prepared store."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from db import queries, record
from db.rows import PointResult, TrialResult
from db.session import open_store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.dashboard.conftest import Stored

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_MS = 30_000
pytestmark = pytest.mark.slow


def missing(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("the package playwright is not installed")
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        missing(f"no browser: none of {', '.join(PROGRAMS)} in PATH")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield opened
        opened.close()


def keep(path: Path, stored: Stored) -> str:
    """Writes a study with its trials and points to a new store, and returns its id."""
    with open_store(path) as store:
        study = record.create_study(
            store,
            name=stored.study.name,
            digest=stored.study.digest,
            request=stored.study.request,
            seed=0,
            versions={},
            kernel_digest="k",
        )
        for trial in stored.trials:
            plain = TrialResult(**{each.name: getattr(trial, each.name) for each in fields(TrialResult)})
            own = [item.point for item in stored.points if item.trial.id == trial.id]
            points = [PointResult(**{each.name: getattr(point, each.name) for each in fields(PointResult)}) for point in own]
            record.upsert_trial(store, study.id, plain, points)
        record.finish_study(store, study.id, "done", stored.study.summary)
        assert queries.frontier(store, study.id)
        return study.id


@pytest.fixture(scope="module")
def address(stored: Stored, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yields the address of the page of a study of 42 trials; the service is stopped in the end."""
    path = tmp_path_factory.mktemp("pages") / "studies.db"
    study = keep(path, stored)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "search.cli", "serve", "--port", str(port), "--db", str(path)]
    with (path.parent / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/studies/{study}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Yields an opener of pages; nothing may go wrong in any of them, nor leave this machine."""
    wrong: list[str] = []
    contexts = []

    def visit(url: str, ready: str, width: int = 1280) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith(LOCAL) else wrong.append(request.url))
        page.goto(url)
        page.wait_for_selector(ready)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert wrong == []


LOCAL = ("http://127.0.0.1", "data:", "blob:")


def drawn(page: Page, name: str) -> str:
    """Returns the selector of a chart that has been drawn."""
    selector = f'.dash-graph[id*="{name}"] .main-svg'
    page.wait_for_selector(selector)
    return selector


def test_a_study_shows_answer_frontier_knobs_and_trials(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address, ".answer .sentence")
    for name in ("study-frontier", "study-shares", "study-coordinates", "study-curves"):
        drawn(page, name)
    page.wait_for_selector(".ag-row")
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
    page.wait_for_function("document.querySelector('#study-told').innerText.startsWith('From the stored curves')")
    assert page.inner_text("#study-told") != before
    page.wait_for_function("location.search.includes('slo.')")
    again = visit(page.url, "#study-told")
    assert again.inner_text("#study-told") == page.inner_text("#study-told")


def test_the_address_chooses_axes_and_colour(address: str, visit: Callable[..., Page]) -> None:
    page = visit(f"{address}?x=rate_rps&y=ttft_p99_s&color=max_num_batched_tokens&yscale=log", "#study-told")
    drawn(page, "study-frontier")
    page.wait_for_function(
        "document.querySelector('.xtitle') && document.querySelector('.xtitle').textContent.includes('Arrival rate')"
    )


def test_a_wrong_address_is_told_in_a_line(address: str, visit: Callable[..., Page]) -> None:
    page = visit(f"{address}?x=height", ".warning")
    assert "height" in page.inner_text(".warning")
    assert "usd_per_million_output_tokens" in page.inner_text(".warning")


def test_a_column_sorts_in_the_database(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address, ".ag-row")
    page.click('.ag-header-cell[col-id="capacity_rps"] .ag-header-cell-label')
    page.wait_for_function(
        "(() => { const cells = [...document.querySelectorAll('.ag-row .ag-cell[col-id=capacity_rps]')]"
        ".map((cell) => [Number(cell.closest('.ag-row').getAttribute('row-index')), parseFloat(cell.innerText)])"
        ".sort((a, b) => a[0] - b[0]).map((pair) => pair[1]); return cells.length > 3"
        " && cells.every((value, i) => !i || value >= cells[i - 1]) && cells[0] < cells[cells.length - 1]; })()"
    )


def test_a_row_opens_its_trial_and_a_trial_shows_its_parts(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address, ".ag-row")
    page.click('.ag-row[row-index="0"] .ag-cell[col-id="device"]')
    page.wait_for_selector("#trial-bars")
    drawn(page, "trial-curve-ttft_p99_s")
    drawn(page, "trial-bars-ttft_s")
    assert "trimtab launch" in page.inner_text("#trial-command-0")


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
    page.wait_for_function("document.querySelectorAll('.compared')[0].querySelectorAll('thead th').length === 4")
    page.fill("#compare-more", "nothing/7")
    page.click("#compare-add")
    page.wait_for_selector("#compare-said .warning")
