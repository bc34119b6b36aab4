"""Newer traffic on a study's page in a real browser: what the form refuses, an answer that stands and one that fell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
import yaml

from search.cli import main
from search.client import Client
from tests.api.asking import REQUEST, Service
from tests.api.newer import write
from tests.dashboard.browsing import browser, drawn, visit

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["browser", "visit"]
pytestmark = pytest.mark.slow
FORM = "#study-drift-go"
SAID = "#study-drift-found .warning"
ANSWER = "#study-drift-found .sentence"


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """Yields the pages of a study that is sized for 20 requests a second and of one of a file, beside an uploaded trace."""
    place = tmp_path_factory.mktemp("drift")
    trace = write(place / "same.csv", 20.0)
    named = {"name": "named", "workload": {"trace": str(trace)}, "space": {"device": ["L40S"]}}
    for fields in ({"name": "sized", "demand": {"rate_rps": 20.0}}, named):
        request = place / f"{fields['name']}.yaml"
        request.write_text(yaml.safe_dump({**REQUEST, **fields}))
        assert main(["search", str(request), "--db", str(place / "drift.db")]) == 0
    service = Service(place / "drift.db")
    with Client(service.url) as client:
        client.upload_trace(trace)
        yield tuple(f"{service.url}/studies/{client.study(name)['id']}" for name in ("sized", "named"))
    service.end()


@pytest.fixture
def address(addresses: tuple[str, ...]) -> str:
    return addresses[0]


def choose_trace(page: Page) -> None:
    # The list stands where the field was: figures that come later move the field.
    drawn(page, "study-frontier")
    page.wait_for_selector(".ag-row", state="attached")
    page.locator(FORM).scroll_into_view_if_needed()
    page.click("#study-drift-trace")
    page.locator(".dash-dropdown-option", has_text="2,000 requests").click()


def test_a_form_without_a_trace_says_so(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address, FORM)
    page.click(FORM)
    page.wait_for_selector(SAID)
    assert page.inner_text(SAID).startswith("Trace: none is chosen")


def test_traffic_as_before_stands_and_a_hundred_times_of_it_does_not(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address, FORM)
    choose_trace(page)
    page.click(FORM)
    page.wait_for_selector(f"{ANSWER}:has-text('stands')")
    assert "No change beyond sampling." in page.inner_text("#study-drift-found")
    assert page.locator("#study-drift-found .badge.failed").count() == 0
    page.fill("#study-drift-rate", "2000")
    page.click(FORM)
    page.wait_for_selector(f"{ANSWER}:has-text('fell')")
    assert "Changed beyond sampling: request rate" in page.inner_text("#study-drift-found")
    assert page.locator("#study-drift-found .badge.failed", has_text="broken").count() > 0


def test_half_a_replica_is_refused(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address, FORM)
    choose_trace(page)
    page.fill("#study-drift-replicas", "1.5")
    page.click(FORM)
    page.wait_for_selector(SAID)
    assert page.inner_text(SAID) == "Replicas: 1.5 is not allowed; allowed: a whole number from 1 to 4,096."


def test_a_study_of_a_file_is_for_the_command_line(addresses: tuple[str, ...], visit: Callable[..., Page]) -> None:
    page = visit(addresses[1], FORM)
    choose_trace(page)
    page.click(FORM)
    page.wait_for_selector(SAID)
    assert page.inner_text(SAID).startswith("workload.trace: ")
    assert "a request from outside may hold no path" in page.inner_text(SAID)
