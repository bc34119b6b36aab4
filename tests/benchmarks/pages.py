"""The page of a study in a real browser: seconds to the answer, to the drawn frontier and to a moved slider, and bytes sent."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import insert

from db import queries, record
from db.rows import TrialRow, values_of
from db.session import open_store
from db.tables import Point, Trial
from search import service
from search.request import SearchRequest
from tests.api.asking import REQUEST, Service
from tests.benchmarks.entry import Entry
from tests.dashboard.browsing import ARGUMENTS, PROGRAMS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SIZES = (100, 1_000, 10_000)
REPEATS = 3
SLIDER = ".whatif [role=slider]"
ROUTE = "/_dash-update-component"


def entries() -> Iterator[Entry]:
    """Yields medians over fresh visits to studies of three sizes, of a service of its own on SQLite; nothing without Chromium."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        return
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        db = Path(folder) / "studies.db"
        small = service.run_search(SearchRequest.parse(REQUEST), db=str(db), executor="inline")
        studies = {size: filled(db, small, size) for size in SIZES}
        server = Service(db, "--only", "dashboard")
        stack.callback(server.end)
        browser = stack.enter_context(sync_playwright()).chromium.launch(executable_path=program, args=ARGUMENTS)
        stack.callback(browser.close)
        log = Path(server.log.name)
        _visit(browser, server.url, studies[SIZES[0]])
        for size, study in studies.items():
            begun = log.stat().st_size
            seen = [_visit(browser, server.url, study) for _ in range(REPEATS)]
            for name, unit in (("view_s", "s"), ("drawn_s", "s"), ("slider_s", "s"), ("kilobytes", "kB"), ("data_kilobytes", "kB")):
                yield Entry(f"study_page_{size}_{name}", float(np.median([each[name] for each in seen])), unit)
            yield Entry(f"study_page_{size}_longest_callback_s", _longest(log, begun), "s")


def _visit(browser: Browser, url: str, study: str) -> dict[str, float]:
    """Returns what a first visit takes: nothing is kept from the one before."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(120_000)
    sent = _counted(page)
    began = time.perf_counter()
    page.goto(f"{url}/studies/{study}", wait_until="commit")
    page.wait_for_selector(".answer .sentence")
    view = time.perf_counter() - began
    page.wait_for_selector('.dash-graph[id*="study-frontier"] .main-svg')
    drawn = time.perf_counter() - began
    page.wait_for_timeout(1500)
    every, data = sum(size for _, size in sent), sum(size for address, size in sent if ROUTE in address)
    slider = _moved(page)
    context.close()
    return {"view_s": view, "drawn_s": drawn, "slider_s": slider, "kilobytes": every / 1e3, "data_kilobytes": data / 1e3}


def _moved(page: Page) -> float:
    """Returns the seconds from a key on the first slider to a frontier under other terms."""
    page.click(".whatif summary")
    before = page.inner_text("#study-told")
    handle = page.locator(SLIDER).first
    handle.focus()
    began = time.perf_counter()
    handle.press("ArrowLeft")
    while page.inner_text("#study-told") == before:
        page.wait_for_timeout(10)
        if time.perf_counter() - began > 60:
            raise RuntimeError("the slider moved nothing")
    return time.perf_counter() - began


def _counted(page: Page) -> list[tuple[str, float]]:
    """Returns a list that grows by the address and the bytes on the wire of each answer."""
    sent: list[tuple[str, float]] = []
    addresses: dict[str, str] = {}
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.responseReceived", lambda event: addresses.update({event["requestId"]: event["response"]["url"]}))
    session.on(
        "Network.loadingFinished",
        lambda event: sent.append((addresses.get(event["requestId"], ""), float(event["encodedDataLength"]))),
    )
    return sent


def _longest(log: Path, begun: int) -> float:
    """Returns the longest that a callback took on the server, by the log's lines after an offset."""
    with log.open("rb") as file:
        file.seek(begun)
        lines = [json.loads(line) for line in file if line.startswith(b"{")]
    return max((float(line["seconds"]) for line in lines if line.get("route") == ROUTE), default=0.0)


def filled(db: Path, small: str, size: int) -> str:
    """Returns the id of a new study with the trials of another and copies of them, with other token budgets, up to `size`."""
    with open_store(str(db)) as store:
        row, real = queries.study(store, small), [each for each in queries.trials(store, small) if each.state == "done"]
        made = record.create_study(
            store, name=f"{size} trials", digest=row.digest, request=row.request, seed=row.seed, versions=row.versions,
            kernel_digest=row.kernel_digest,
        )  # fmt: skip
        found = queries.points(store, small)
        with store.write() as session:
            copies = [_copy(real[number % len(real)], made.id, number, len(real)) for number in range(size)]
            session.execute(insert(Trial), copies)
        own = {each.number: each.id for each in queries.trials(store, made.id)}
        places = {each.number: place for place, each in enumerate(real)}
        with store.write() as session:
            points = [
                {**values_of(each.point), "study_id": made.id, "trial_id": own[places[each.trial.number]]}
                for each in found
                if each.trial.number in places
            ]
            session.execute(insert(Point), [{name: value for name, value in each.items() if name != "id"} for each in points])
        record.start_study(store, made.id)
        record.finish_study(store, made.id, "done", row.summary)
        return made.id


def _copy(trial: TrialRow, study: str, number: int, real: int) -> dict[str, Any]:
    values = values_of(trial)
    deployment = dict(trial.deployment)
    if number >= real:
        worse = 1 + 0.3 * ((number * 2654435761) % 1000) / 1000
        deployment["max_num_batched_tokens"] = 512 + number
        capacity = {
            name: values[name] / worse for name in ("capacity_rps", "capacity_low_rps", "capacity_high_rps") if values[name]
        }
        values |= capacity
        values["objectives"] = {name: value * worse for name, value in trial.objectives.items() if value is not None}
    kept = {name: value for name, value in values.items() if name != "id"}
    return {**kept, "study_id": study, "number": number, "key": f"{trial.key} {number}", "deployment": deployment}
