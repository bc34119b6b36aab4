"""The catalog and the help page in a real browser: found by words, operator times drawn, the address carries what is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.api.asking import Service
from tests.dashboard.browsing import browser, drawn, until, visit

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["browser", "visit"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yields the pages on an empty store, without a worker."""
    started = Service(tmp_path_factory.mktemp("catalog") / "studies.db", "--only", "dashboard")
    yield started
    started.end()


def test_words_find_devices_and_the_address_keeps_them(service: Service, visit: Callable[..., Page]) -> None:
    page = visit(f"{service.url}/catalog", "#catalog-list table")
    assert page.locator("#catalog-list tbody tr").count() > 10
    page.fill("#catalog-words", "hopper SXM")
    until(page, "document.querySelectorAll('#catalog-list tbody tr').length === 2")
    until(page, "location.search.includes('hopper')")
    again = visit(page.url, "#catalog-list table")
    assert again.locator("#catalog-list tbody tr").count() == 2
    again.fill("#catalog-words", "no such thing")
    again.wait_for_selector("#catalog-list:has-text('Nothing')")


@pytest.mark.parametrize("kind", ["models", "prices", "presets", "profiles"])
def test_every_kind_is_listed(service: Service, visit: Callable[..., Page], kind: str) -> None:
    page = visit(f"{service.url}/catalog?kind={kind}", "#catalog-list")
    assert page.locator("#catalog-list > *").count() == 1
    assert page.locator(".tab.chosen").get_attribute("href") == f"/catalog?kind={kind}"


def test_a_device_shows_its_operators_with_their_origin(service: Service, visit: Callable[..., Page]) -> None:
    page = visit(f"{service.url}/catalog?device=H100-SXM", "#catalog-curves table")
    drawn(page, "catalog-tokens")
    before = page.locator("#catalog-curves tbody tr").count()
    page.click("#catalog-tp")
    page.get_by_role("option", name="TP 2", exact=True).click()
    until(page, "document.querySelector('#catalog-curves').innerText.includes('attention_all_reduce')")
    assert page.locator("#catalog-curves tbody tr").count() > before
    until(page, "location.search.includes('tp=2')")


def test_a_model_leads_to_a_search_of_it(service: Service, visit: Callable[..., Page]) -> None:
    page = visit(f"{service.url}/catalog?model=Qwen/Qwen3-32B", "#page h1")
    page.click("text=Search deployments of it")
    page.wait_for_selector("#new-size:has-text('deployments')")
    assert "model: Qwen/Qwen3-32B" in page.input_value("#new-yaml")


def test_what_there_is_not_is_told_in_a_line(service: Service, visit: Callable[..., Page]) -> None:
    for query in ("device=H1000", "model=none", "kind=shoes", "device=L4&tp=3"):
        page = visit(f"{service.url}/catalog?{query}", ".warning")
        assert "allowed:" in page.inner_text(".warning")


def test_help_tells_errors_and_finds_words(service: Service, visit: Callable[..., Page]) -> None:
    page = visit(f"{service.url}/help", "#glossary")
    assert page.locator("#accuracy table").count() == 2
    page.fill("#help-words", "knee of nothing")
    page.wait_for_selector("#help-list:has-text('No word')")
    page.fill("#help-words", "TPOT")
    until(page, "document.querySelectorAll('#help-list dt').length > 0")
    assert "TPOT" in page.inner_text("#help-list dt")
