"""The pages of plans and validations in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from db import validations
from db.rows import ValidationResult
from db.session import open_store
from tests.api.asking import Service
from tests.dashboard.browsing import browser, drawn, until, visit
from tests.dashboard.conftest import NOW
from tests.dashboard.storing import keep

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.dashboard.conftest import Stored

__all__ = ["browser", "visit"]
pytestmark = pytest.mark.slow
RAN = ValidationResult(
    load=0.5, rate_rps=4.0, engine="vllm", device="H100-SXM", state="faulted", started_at=NOW, finished_at=NOW,
    fault_kind="died", fault_reason="the server ended by itself",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(stored: Stored, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Returns a store with a study, and the study's id."""
    path = tmp_path_factory.mktemp("plan") / "studies.db"
    return path, keep(path, stored)


@pytest.fixture(scope="module")
def pages(place: tuple[Path, str]) -> Iterator[Service]:
    """Yields the pages alone."""
    started = Service(place[0], "--only", "dashboard")
    yield started
    started.end()


def planned(page: Page) -> str:
    """Plans what the form says and returns the answer's sentence."""
    page.click("#plan-go")
    page.wait_for_selector("#plan-found .answer .sentence")
    return page.inner_text("#plan-found .answer .sentence")


def test_the_example_is_planned_and_a_what_if_simulates_nothing(pages: Service, visit: Callable[..., Page]) -> None:
    page = visit(f"{pages.url}/plan?mean=20&growth=5&months=3", "#plan-go")
    assert "scheduled" in planned(page)
    drawn(page, "plan-week")
    assert "SLO kept" in page.inner_text("#plan-found")
    cost = page.inner_text("#plan-found .tile .value")
    slider = page.locator("#plan-if-demand [role=slider]")
    slider.focus()
    for _ in range(10):
        slider.press("ArrowRight")
    until(page, "document.querySelector('#plan-found').innerText.includes('from stored curves: nothing was simulated')")
    assert "mean=20" in page.url and "growth=5" in page.url
    until(page, "location.search.includes('if_demand=1.5')")
    shared = visit(page.url, "#plan-go")
    planned(shared)
    until(shared, "document.querySelector('#plan-found').innerText.includes('from stored curves: nothing was simulated')")
    found = shared.inner_text("#plan-found .tile .value")
    assert found != cost and "if_demand=1.5" in shared.url
    # The answers to a slider come one after the other.
    until(page, f"document.querySelector('#plan-found .tile .value').innerText === '{found}'")
    wrong = visit(f"{pages.url}/plan?if_demand=9", ".warning")
    assert wrong.inner_text(".warning").startswith("if_demand: '9' is not allowed; allowed: a number from 0.25 to 4")


def test_a_study_of_the_store_is_planned_for_a_table_of_demand(
    pages: Service, place: tuple[Path, str], visit: Callable[..., Page]
) -> None:
    page = visit(f"{pages.url}/plan?study={place[1]}&shape=forecast&budget=50000", "#plan-go")
    page.fill("#plan-forecast", "hour,rate_rps\n" + "\n".join(f"{hour},{10 + hour}" for hour in range(24)))
    page.press("#plan-forecast", "Tab")
    planned(page)
    assert "What the budget buys" in page.inner_text("#plan-found")
    assert "forecast" in page.url


def test_a_plan_is_cancelled_and_the_next_one_does_not_wait(pages: Service, visit: Callable[..., Page]) -> None:
    page = visit(f"{pages.url}/plan?mean=90000", "#plan-go")
    page.click("#plan-go")
    page.wait_for_selector("#plan-cancel:visible")
    page.click("#plan-cancel")
    until(page, "document.querySelector('#plan-told').innerText === 'Cancelled.'")
    again = visit(f"{pages.url}/plan?mean=5", "#plan-go")
    assert "scheduled" in planned(again)


def test_what_is_wrong_in_the_form_is_told_in_a_line(pages: Service, visit: Callable[..., Page]) -> None:
    page = visit(f"{pages.url}/plan?shape=forecast&forecast=hour%0A1", "#plan-go")
    page.click("#plan-go")
    page.wait_for_selector("#plan-wrong .warning")
    assert "demand.forecast" in page.inner_text("#plan-wrong")
    assert visit(f"{pages.url}/plan?mean=many", ".warning").inner_text(".warning").startswith("mean: 'many'")


def test_validations_are_shown_beside_what_was_simulated(
    pages: Service, place: tuple[Path, str], visit: Callable[..., Page]
) -> None:
    path, study = place
    empty = visit(f"{pages.url}/validation", ".empty")
    assert "trimtab validate" in empty.inner_text(".empty")
    with open_store(path) as store:
        for trial, real in ((0, 0.10), (1, 0.12)):
            measured = {"ttft_s": {"p50": real}, "tpot_s": {"mean": 0.02}, "e2e_s": {"p50": 4.0}}
            simulated = {"ttft_s": {"p50": 0.11}, "tpot_s": {"mean": 0.019}, "e2e_s": {"p50": 4.1}}
            errors = {"ttft_p50_s": 0.11 / real - 1, "tpot_mean_s": -0.05}
            done = replace(
                RAN, state="done", fault_kind=None, fault_reason=None, measured=measured, simulated=simulated, errors=errors,
                finished_at=NOW + timedelta(hours=trial),
            )  # fmt: skip
            validations.keep(store, study, trial, done)
        validations.keep(store, study, 2, RAN)
    page = visit(f"{pages.url}/validation", "#page table")
    drawn(page, "validation-ttft_p50_s")
    text = page.inner_text("#page")
    assert "+10.0%" in text and "died: the server ended by itself" in text and "-5.0%" in text
    page.click("text=H100-SXM >> nth=0")
    until(page, "location.search.includes('device=H100-SXM')")
    ordered = visit(f"{pages.url}/validation?study={study}", "#page table")
    assert "Order of deployments" in ordered.inner_text("#page")
    assert "validation" in visit(f"{pages.url}/validation?device=none", ".warning").inner_text(".warning")
