"""Every page, light and dark: axe finds nothing serious, nothing is wider than the window, and the keyboard reaches the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import pytest

from dashboard import pages
from tests.api.asking import Service
from tests.dashboard.browsing import browser, visit
from tests.dashboard.storing import keep

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.dashboard.conftest import Stored

__all__ = ["browser", "visit"]
pytestmark = pytest.mark.slow
SERIOUS = ("serious", "critical")
WIDTHS = (1280, 820)
SETTLED_MS = 400
OPTIONS = {"resultTypes": ["violations"]}


@pytest.fixture(scope="module")
def service(stored: Stored, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, str]]:
    """Yields the pages on a store with one study, and its id."""
    path = tmp_path_factory.mktemp("accessible") / "studies.db"
    study = keep(path, stored)
    started = Service(path, "--only", "dashboard")
    yield started, study
    started.end()


def test_no_page_has_a_serious_finding(service: tuple[Service, str], visit: Callable[..., Page]) -> None:
    from axe_playwright_python.sync_playwright import Axe

    axe, page, found = Axe(), None, []
    for address in addresses(*service):
        for scheme in ("light", "dark"):
            page = opened(visit, address, scheme, page)
            assert page.evaluate("document.documentElement.dataset.theme") == scheme
            for each in axe.run(page, options=OPTIONS).response["violations"]:
                nodes = [node["html"][:200] for node in each["nodes"] if not of_the_grid(node)]
                if each["impact"] in SERIOUS and nodes:
                    found.append(f"{address} {scheme}: {each['id']}: {each['help']}: {nodes[0]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_wider_than_its_window(service: tuple[Service, str], visit: Callable[..., Page], width: int) -> None:
    page, found = None, []
    for address in addresses(*service):
        page = opened(visit, address, "light", page, width)
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if over > 0:
            found.append(f"{address}: {over} px wider than {width}")
    assert not found, "\n".join(found)


def test_the_first_tab_leads_past_the_links_to_the_page(service: tuple[Service, str], visit: Callable[..., Page]) -> None:
    page = visit(f"{service[0].url}/", "#page h1")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to the page"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('#page').contains(document.activeElement)")


def of_the_grid(node: dict[str, Any]) -> bool:
    """Returns whether a finding is about AG Grid's own scrolled parts, in which arrow keys move from cell to cell."""
    return any(".ag-" in str(target) for target in node["target"])


def addresses(service: Service, study: str) -> list[str]:
    """Returns the address of every page, those of one study with that study."""
    found = [page.PATH.format(study=study, trial=0, name="x") for page in pages.all_pages()]
    return [f"{service.url}{address}" for address in (*found, f"/compare?items={study}/0,{study}/20")]


def opened(
    visit: Callable[..., Page], address: str, scheme: Literal["light", "dark"], before: Page | None, width: int = 1280
) -> Page:
    """Returns the page at an address once its charts are drawn, in the tab of `before`."""
    page = visit(address, "#page h1", width) if before is None else before
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.goto(address)
    page.wait_for_selector("#page h1")
    page.wait_for_timeout(SETTLED_MS)
    return page
