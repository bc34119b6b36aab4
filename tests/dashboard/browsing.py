"""A real browser for tests of pages: nothing may go wrong in any page, nor leave this machine."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_MS = 90_000
LOCAL = ("http://127.0.0.1", "data:", "blob:")


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


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Yields an opener of pages, in the context of `beside` if given; nothing may go wrong in them, nor leave this machine."""
    wrong: list[str] = []
    contexts = []

    def visit(url: str, ready: str, width: int = 1280, beside: Page | None = None) -> Page:
        context = beside.context if beside is not None else browser.new_context(viewport={"width": width, "height": 900})
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


def until(page: Page, truth: str) -> None:
    """Waits until an expression holds in the page, whose policy lets nobody evaluate text within it."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(truth):
        assert time.monotonic() < end, truth
        page.wait_for_timeout(100)


def drawn(page: Page, name: str) -> str:
    """Returns the selector of a chart that has been drawn."""
    selector = f'.dash-graph[id*="{name}"] .main-svg'
    page.wait_for_selector(selector)
    return selector
