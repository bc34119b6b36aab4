"""The dashboard behind keys, in a real browser: in with a key, out again, and no further than its scope."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from db import queries
from db.session import open_store
from search import service as studies
from search.cli import main
from tests.api.asking import REQUEST, Service
from tests.dashboard.browsing import browser, visit

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

__all__ = ["browser", "visit"]
pytestmark = pytest.mark.slow
EVIL = '<img src="/evil" onerror="document.title = \'owned\'">'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns where the service's store is."""
    return tmp_path_factory.mktemp("login") / "studies.db"


@pytest.fixture(scope="module")
def guarded(place: Path) -> Iterator[Service]:
    """Yields a service that asks for keys, without a worker."""
    started = Service(place, "--keys", "--only", "dashboard")
    yield started
    started.end()


def a_key(place: Path, scope: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Returns a new key with a scope."""
    assert main(["keys", "create", scope, "--scope", scope, "--db", f"sqlite:///{place}", "--json"]) == 0
    key: str = json.loads(capsys.readouterr().out)["key"]
    return key


def log_in(page: Page, key: str) -> None:
    """Sends a key by the form."""
    page.fill("#key", key)
    page.click("text=Log in")


def test_a_key_lets_a_browser_in_and_logging_out_ends_that(
    guarded: Service, place: Path, visit: Callable[..., Page], capsys: pytest.CaptureFixture[str]
) -> None:
    page = visit(f"{guarded.url}/catalog", "#key")
    assert page.url == f"{guarded.url}/login?next=/catalog"
    log_in(page, a_key(place, "read", capsys))
    page.wait_for_selector("header.top")
    assert page.url == f"{guarded.url}/catalog"
    page.click("text=Log out")
    page.wait_for_selector("#key")
    visit(f"{guarded.url}/", "#key", beside=page)


def test_a_key_that_may_only_read_starts_nothing_and_is_told_so(
    guarded: Service, place: Path, visit: Callable[..., Page], capsys: pytest.CaptureFixture[str]
) -> None:
    page = visit(f"{guarded.url}/", "#key")
    log_in(page, a_key(place, "read", capsys))
    page.click("#home-example")
    page.wait_for_selector("#said .warning")
    assert "scope submit" in page.inner_text("#said")
    with open_store(place) as store:
        assert queries.studies(store) == []


def test_a_key_that_may_submit_starts_the_example_in_its_name_and_cancels_it(
    guarded: Service, place: Path, visit: Callable[..., Page], capsys: pytest.CaptureFixture[str]
) -> None:
    page = visit(f"{guarded.url}/", "#key")
    log_in(page, a_key(place, "submit", capsys))
    page.click("#home-example")
    page.wait_for_selector("#study-cancel:visible")
    page.click("#study-cancel")
    page.wait_for_selector(".badge.cancelled")
    with open_store(place) as store:
        [line] = queries.studies(store)
        assert line.study.state == "cancelled"


def test_markup_in_a_name_is_shown_as_text(
    guarded: Service, place: Path, visit: Callable[..., Page], capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store(place) as store:
        study = studies.submit(store, {**REQUEST, "name": EVIL}).study.id
    page = visit(f"{guarded.url}/", "#key")
    log_in(page, a_key(place, "read", capsys))
    page.wait_for_selector(f'a[href="/studies/{study}"]')
    assert EVIL in page.inner_text("#home-list")
    page.click(f'a[href="/studies/{study}"]')
    page.wait_for_selector("#study-head h1")
    assert EVIL in page.inner_text("#study-head h1")
    assert page.locator('img[src="/evil"]').count() == 0
    assert page.title() != "owned"
