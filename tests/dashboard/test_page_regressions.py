"""The Regressions page: its trends as figures, and the page in a real browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dashboard.app import page_of
from dashboard.figures import trend
from db.session import Store, open_store
from tests.api.asking import Service
from tests.dashboard.browsing import LOCAL, PATIENCE_MS, browser
from tests.nights import night, nights

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["browser"]
DAYS = [datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=n) for n in range(4)]


def line(*values: float) -> list[tuple[datetime, float]]:
    return list(zip(DAYS, values, strict=False))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "s.db") as opened:
        yield opened


def test_a_trend_is_relative_to_its_first_night_and_marks_alarms() -> None:
    drawing = trend.changes({"capacity_rps": line(20, 20, 19), "usd": line(2, 2, 2.1)}, [DAYS[2]])
    capacity, usd, marked = drawing.data
    assert list(capacity.y) == pytest.approx([0, 0, -0.05]) and list(usd.y) == pytest.approx([0, 0, 0.05])
    assert list(marked.x) == [DAYS[2]] and list(marked.y) == pytest.approx([-0.05])
    low, high = drawing.layout.yaxis.range
    assert low < -0.05 and high > 0.05


def test_a_still_trend_is_drawn_still() -> None:
    drawing = trend.changes({"capacity_rps": line(20, 20.0001)}, [])
    low, high = drawing.layout.yaxis.range
    assert high - low >= trend.LEAST_SPAN


def test_numbers_that_began_at_nothing_are_left_out_and_errors_start_at_zero() -> None:
    assert len(trend.changes({"rejected": line(0, 1)}, [DAYS[0]]).data) == 0
    drawing = trend.errors({"set: metric %{y} <b>": line(0.1, 0.2)})
    assert drawing.layout.yaxis.rangemode == "tozero" and "%{y} <b>" not in drawing.data[0].hovertemplate


def test_a_store_without_a_night_says_how_to_make_one(store: Store) -> None:
    assert "trimtab sweep" in str(page_of(store, "/regressions", ""))


def test_the_address_chooses_suite_and_night(store: Store) -> None:
    runs = nights(store, 4)
    night(store, 40, suite="weekly")
    newest, chosen = (str(page_of(store, "/regressions", query)) for query in ("", f"suite=nightly&run={runs[-1].id}"))
    assert "gate_up_proj" not in newest and "gate_up_proj" in chosen
    assert "No suite of that name" in str(page_of(store, "/regressions", "suite=nothing"))


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with open_store(tmp_path / "s.db") as store:
        nights(store, 8)
    started = Service(tmp_path / "s.db", "--only", "dashboard")
    yield started.url
    started.end()


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_shows_what_changed_why_and_the_trends(browser: Browser, address: str, width: int, scheme: str) -> None:
    wrong: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(LOCAL) else wrong.append(request.url))
    page.goto(address)
    page.click("nav >> text=Regressions")
    page.wait_for_selector(".changes")
    told = page.inner_text(".changes")
    assert "one H100, chat" in told and "capacity_rps went from 20" in told and "operator gate_up_proj, +5.00%" in told
    for name in ("trend-0", "trend-1", "accuracy-0"):
        page.wait_for_selector(f'.dash-graph[id*="{name}"] .main-svg')
    assert "<b>code</b>" in page.inner_text("#page"), "a name is text"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.click("table >> a >> nth=0")
    page.wait_for_url("**/regressions?**run=r-*")
    end = time.monotonic() + PATIENCE_MS / 1000
    while "as in the baseline" not in page.inner_text(".changes"):
        assert time.monotonic() < end
        page.wait_for_timeout(100)
    context.close()
    assert wrong == []
