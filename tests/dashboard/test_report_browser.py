"""The page in a real browser: it opens without an error and without a request to any host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from dashboard.figures.theme import DARK, LIGHT
from dashboard.report import write_report
from db.rows import StudyRow
from tests.dashboard.browsing import browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog

    from tests.dashboard.conftest import Stored

Scheme = Literal["light", "dark"]
__all__ = ["browser"]
pytestmark = pytest.mark.slow
LOCAL = ("file:", "data:", "blob:")


class Seen:
    """A page of its own, and all that goes wrong in it: console, errors, dialogs, requests that leave the file."""

    def __init__(self, browser: Browser, path: Path, width: int = 1280, height: int = 900, scheme: Scheme = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("console", lambda message: self.note(message.type in ("error", "warning"), message.text))
        self.page.on("pageerror", lambda error: self.note(True, str(error)))
        self.page.on("dialog", self.dismiss)
        self.page.on("request", lambda request: self.note(not request.url.startswith(LOCAL), request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("body:not(:has(.chart:not(.drawn)))")

    def note(self, is_wrong: bool, text: str) -> None:
        if is_wrong:
            self.wrong.append(text)

    def dismiss(self, dialog: Dialog) -> None:
        self.note(True, dialog.message)
        dialog.dismiss()

    def layout(self, name: str) -> Any:
        """Returns what Plotly has drawn of the frontier's layout, such as `xaxis.type`."""
        return self.page.evaluate(f"document.getElementById('frontier')._fullLayout.{name}")


@pytest.fixture(scope="module")
def path(stored: Stored, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("report") / "study.html"
    write_report(found, stored.study, stored.trials, stored.points)
    return found


@pytest.mark.parametrize(("width", "height", "scheme"), [(1280, 900, "light"), (820, 1180, "dark")])
def test_the_page_opens_whole_and_quiet(
    browser: Browser, path: Path, stored: Stored, width: int, height: int, scheme: Scheme
) -> None:
    seen = Seen(browser, path, width, height, scheme)
    assert seen.page.locator(".chart .main-svg").count() >= 4
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    assert seen.page.locator("#frontier .scatterlayer .trace .points path").count() >= len(stored.points)
    assert seen.layout("font.color") == (LIGHT if scheme == "light" else DARK).ink
    assert seen.wrong == []
    seen.context.close()


def test_the_page_answers_to_its_reader(browser: Browser, path: Path, stored: Stored) -> None:
    seen = Seen(browser, path)
    assert seen.layout("xaxis.type") == "linear"
    seen.page.check("[data-chart=frontier][data-axis=x]")
    assert seen.layout("xaxis.type") == "log"

    seen.page.emulate_media(color_scheme="dark")
    seen.page.wait_for_timeout(300)
    assert seen.layout("font.color") == DARK.ink
    assert seen.layout("xaxis.type") == "log", "turning dark keeps the reader's scale"

    point = next(item.point.id for item in stored.points if item.point.rank == 3)
    seen.page.evaluate(f"document.getElementById('frontier').emit('plotly_click', {{points: [{{customdata: {point}}}]}})")
    assert seen.page.locator(f"#point-{point}.chosen details[open]").count() == 1

    titles = seen.page.eval_on_selector_all(".modebar-btn", "buttons => buttons.map(button => button.dataset.title || '')")
    assert any("png" in title.lower() for title in titles)
    assert not [title for title in titles if "share" in title.lower() or "cloud" in title.lower()]
    assert seen.wrong == []
    seen.context.close()


def test_a_hostile_name_stays_text(browser: Browser, tmp_path: Path, study: Callable[..., StudyRow]) -> None:
    name = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    write_report(tmp_path / "study.html", study(name=name), [], [])
    seen = Seen(browser, tmp_path / "study.html")
    assert seen.page.locator("h1").inner_text() == name
    assert seen.page.title() == f"{name} · Trimtab"
    assert seen.wrong == []
    seen.context.close()


def test_a_script_from_elsewhere_would_not_run(browser: Browser, tmp_path: Path, study: Callable[..., StudyRow]) -> None:
    path = tmp_path / "study.html"
    write_report(path, study(), [], [])
    path.write_text(path.read_text(encoding="utf-8").replace("</main>", "<script>alert(3)</script></main>"), encoding="utf-8")
    seen = Seen(browser, path)
    assert len(seen.wrong) == 1
    assert "Content Security Policy" in seen.wrong[0]
    seen.context.close()
