"""The service under load: frontiers read by a hundred clients while two studies run, and pages of a store with 200,000 trials."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import aiohttp
import numpy as np
from sqlalchemy import insert, select

from db import queries, record
from db.rows import TrialRow, values_of
from db.session import Store, open_store
from db.tables import Point, Trial
from search import service
from search.request import SearchRequest
from tests.api.asking import LONG, REQUEST, Service
from tests.benchmarks.entry import Entry

CLIENTS, READ_S = 100, 15.0
STUDIES, TRIALS, ASKED = 200, 1_000, 100
FREE = {f"TRIMTAB_RATE_{rate}": "1000000/second" for rate in ("PER_KEY", "PER_ADDRESS")}


def entries() -> Iterator[Entry]:
    """Yields latencies and rates over loopback, of a server of its own on SQLite."""
    yield from _crowded()
    yield from _large()


def _crowded() -> Iterator[Entry]:
    """Yields what a hundred clients see that read one frontier again and again while two studies run."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        db = Path(name) / "studies.db"
        study = service.run_search(SearchRequest.parse(REQUEST), db=str(db), executor="inline")
        server = _started(stack, db)
        _second_worker(stack, db)
        with open_store(str(db)) as store:
            running = [service.submit(store, {**LONG, "name": f"long {place}"}).study.id for place in range(2)]
            _wait_for(store, running)
        took, errors, wall = asyncio.run(_read(f"{server.url}/api/v1/studies/{study}/frontier", CLIENTS, READ_S))
        with open_store(str(db)) as store:
            for each in running:
                service.cancel(store, each)
    yield Entry("frontier_100_clients_rps", len(took) / wall, "requests/s")
    yield Entry("frontier_100_clients_p50_ms", 1e3 * float(np.percentile(took, 50)), "ms")
    yield Entry("frontier_100_clients_p99_ms", 1e3 * float(np.percentile(took, 99)), "ms")
    yield Entry("frontier_100_clients_errors", float(errors), "requests")


def _large() -> Iterator[Entry]:
    """Yields how long lists and frontiers take in a store with many studies."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        db = Path(name) / "studies.db"
        study = service.run_search(SearchRequest.parse(REQUEST), db=str(db), executor="inline")
        with open_store(str(db)) as store:
            ids = [_copied(store, study, place) for place in range(STUDIES)]
        server = _started(stack, db, "--only", "api")
        base = f"{server.url}/api/v1/studies"
        for what, urls in (
            ("list", [f"{base}?limit=50"] * ASKED),
            ("frontier", [f"{base}/{each}/frontier" for each in ids[:ASKED]]),
            ("trials", [f"{base}/{each}/trials?limit=50" for each in ids[:ASKED]]),
        ):
            took = asyncio.run(_each(urls))
            yield Entry(f"store_200x1000_{what}_p95_ms", 1e3 * float(np.percentile(took, 95)), "ms")


def _second_worker(stack: ExitStack, db: Path) -> None:
    command = [sys.executable, "-m", "search.cli", "serve", "--only", "worker", "--db", str(db)]
    worker = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    stack.callback(worker.wait)
    stack.callback(worker.terminate)


def _started(stack: ExitStack, db: Path, *options: str) -> Service:
    os.environ.update(FREE)
    server = Service(db, *options)
    stack.callback(server.end)
    return server


def _wait_for(store: Store, studies: list[str]) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if all(queries.study(store, each).state == "running" for each in studies):
            return
        time.sleep(0.2)
    raise RuntimeError("the studies do not run")


async def _read(url: str, clients: int, seconds: float) -> tuple[list[float], int, float]:
    """Returns the seconds of every answer, how many were no frontier, and the seconds in all."""
    took: list[float] = []
    errors = 0
    began = time.perf_counter()

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal errors
        while time.perf_counter() - began < seconds:
            at = time.perf_counter()
            async with session.get(url) as answer:
                body = await answer.read()
                errors += answer.status != 200 or b'"items"' not in body
            took.append(time.perf_counter() - at)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    return took, errors, time.perf_counter() - began


async def _each(urls: list[str]) -> list[float]:
    took = []
    async with aiohttp.ClientSession() as session:
        for url in urls:
            at = time.perf_counter()
            async with session.get(url) as answer:
                await answer.read()
                assert answer.status == 200, url
            took.append(time.perf_counter() - at)
    return took


def _copied(store: Store, study: str, place: int) -> str:
    """Returns the id of a new study with the trials and points of another, filled up to a thousand by trials without curves."""
    row = queries.study(store, study)
    made = record.create_study(
        store, name=f"copy {place}", digest=row.digest, request=row.request, seed=row.seed, versions=row.versions,
        kernel_digest=row.kernel_digest,
    )  # fmt: skip
    real = queries.trials(store, study)
    found = queries.points(store, study)
    filled = [real[number % len(real)] for number in range(TRIALS)]
    with store.write() as session:
        session.execute(insert(Trial), [_as_trial(each, made.id, number, number < len(real)) for number, each in enumerate(filled)])
        numbered = select(Trial.number, Trial.id).where(Trial.study_id == made.id)
        own: dict[int, int] = dict(session.execute(numbered).all())
        points = [{**values_of(p.point), "study_id": made.id, "trial_id": own[p.trial.number]} for p in found]
        session.execute(insert(Point), [{name: value for name, value in each.items() if name != "id"} for each in points])
    record.start_study(store, made.id)
    record.finish_study(store, made.id, "done", row.summary)
    return made.id


def _as_trial(row: TrialRow, study: str, number: int, whole: bool) -> dict[str, object]:
    short = row if whole else replace(row, curve=[], provenance={}, key=f"{number} {row.key}"[:2000])
    values = {name: value for name, value in values_of(short).items() if name != "id"}
    return {**values, "study_id": study, "number": number}
