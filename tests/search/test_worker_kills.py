"""Workers and databases that are killed, stopped, locked or filled while studies run: nothing is lost, nothing counted twice."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text

from db import jobs, queries
from db.rows import TrialRow
from db.session import Store, open_store
from search import documents, service
from search.request import SearchRequest
from simulator.errors import StoreError
from tests.databases import Server, postgresql, postgresql_url, running_server, sqlite_url, url

__all__ = ["postgresql", "postgresql_url", "sqlite_url", "url"]
pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from nursery import SMALL, TINY, shorten  # type: ignore[import-not-found]  # noqa: E402

KILLS = 20


class Nursery:
    """Workers as processes of their own, which end with the test."""

    def __init__(self) -> None:
        root = str(HERE.parents[1])
        pipe = subprocess.PIPE
        command = [sys.executable, str(HERE / "nursery.py")]
        environment = {**os.environ, "PYTHONPATH": root, "RAY_AUTH_MODE": "disabled"}
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment, cwd="/")
        assert self._answer() == "warm"
        self.started: list[int] = []

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def start(self, **options: Any) -> int:
        """Returns the process id of a new worker."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(options) + "\n")
        self.process.stdin.flush()
        self.started.append(int(self._answer()))
        return self.started[-1]

    def end(self) -> None:
        """Kills whatever still runs."""
        for pid in self.started:
            kill(pid)
        self.started.clear()


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.end()
    assert made.process.stdin is not None
    made.process.stdin.close()
    made.process.wait(30)
    assert made.process.stdout is not None
    made.process.stdout.close()


@pytest.fixture
def start(nursery: Nursery, tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Yields a starter of workers; they note what they run in `runs` and log into `log`."""

    def make(db: str, **options: Any) -> int:
        quick = {"lease_s": 1.0, "poll_s": 0.05, "path": str(tmp_path / "runs"), "log": str(tmp_path / "log")}
        return nursery.start(db=db, **(quick | options))

    yield make
    nursery.end()


def kill(pid: int) -> None:
    """Kills a process with SIGKILL and waits until it is gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    until(lambda: not psutil.pid_exists(pid))


def until(condition: Callable[[], object], seconds: float = 180.0, pause_s: float = 0.02) -> None:
    """Waits until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(pause_s)


def submit(store: Store, request: dict[str, Any], **changes: Any) -> str:
    """Returns the id of a study that waits for a worker and may be attempted often."""
    study = service.submit(store, request | changes).study.id
    with store.write() as session:
        session.execute(text("UPDATE jobs SET max_attempts = 1000 WHERE study_id = :id"), {"id": study})
    return study


def due_now(store: Store) -> None:
    """Lets jobs whose worker was killed be tried again without a pause."""
    jobs.expire(store)
    with store.write() as session:
        session.execute(text("UPDATE jobs SET not_before = created_at WHERE state = 'queued'"))


def state(store: Store, study: str) -> str:
    """Returns the state of a study."""
    return queries.study(store, study).state


def scored(store: Store, study: str) -> dict[str, TrialRow]:
    """Returns the stored trials of a study by key."""
    return {trial.key: trial for trial in queries.trials(store, study)}


def answer(store: Store, study: str) -> str:
    """Returns the frontier of a study as text, without what differs between two studies of one request."""
    document = documents.frontier(queries.study(store, study), queries.frontier(store, study), queries.trials(store, study))
    return json.dumps(document["items"], sort_keys=True).replace(study, "STUDY")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Returns the frontier of the small study, run in peace."""
    with pytest.MonkeyPatch.context() as patch:
        from search import driver

        for name in ("SCREEN", "RESCORE", "FINAL"):
            patch.setattr(driver, name, getattr(driver, name))
        shorten()
        path = str(tmp_path_factory.mktemp("expected") / "studies.db")
        study = service.run_search(SearchRequest.parse(SMALL), db=path, executor="inline")
    with open_store(path) as store:
        return answer(store, study)


def check_nothing_lost(before: dict[str, TrialRow], after: dict[str, TrialRow]) -> None:
    """Checks that every trial that was stored is there still, under its number, scored as well or better."""
    for key, trial in before.items():
        assert after[key].number == trial.number
        assert after[key].fidelity >= trial.fidelity


def evaluations(folder: Path) -> list[str]:
    """Returns the trials that were run, each with its fidelity and seed, in their order."""
    return (folder / "runs").read_text().splitlines()


def run_again(runs: list[str]) -> int:
    """Returns how many runs of one study were run before at just that fidelity.

    A trial that has been scored better meanwhile is no such run: its earlier score, which the better one replaced, is made
    anew when the study is resumed.
    """
    again, best = 0, dict[str, int]()
    for line in runs:
        key, requests, _ = line.rsplit("|", 2)
        again += int(requests) == best.get(key)
        best[key] = max(int(requests), best.get(key, 0))
    return again


# Workers killed


def run_with_kills(store: Store, start: Callable[[], int], study: str, moments: random.Random, most: int) -> int:
    """Returns how often a worker was killed, at most so often, while the study ran to its end."""
    kills, stored = 0, scored(store, study)
    while state(store, study) != "done":
        pid = start()
        if kills == most:
            until(lambda: state(store, study) == "done")
            kill(pid)
            break
        until(lambda: state(store, study) != "queued", pause_s=0.005)
        time.sleep(moments.uniform(0.0, 0.6))
        kill(pid)
        kills += state(store, study) == "running"
        after = scored(store, study)
        check_nothing_lost(stored, after)
        stored = after
        with store.write() as session:
            session.execute(text("UPDATE jobs SET lease_until = created_at WHERE state = 'running'"))
        due_now(store)
    check_nothing_lost(stored, scored(store, study))
    return kills


def test_studies_survive_twenty_kills_at_random_moments(url: str, start: Callable[..., int], expected: str, tmp_path: Path) -> None:
    moments, kills, studies, again, begun = random.Random(7), 0, [], 0, 0
    with open_store(url) as store:
        while kills < KILLS:
            studies.append(submit(store, SMALL))
            kills += run_with_kills(store, lambda: start(url), studies[-1], moments, KILLS - kills)
            runs = evaluations(tmp_path)
            again, begun = again + run_again(runs[begun:]), len(runs)
        assert {answer(store, study) for study in studies} == {expected}
    # Only what a kill interrupted was run again.
    assert again <= kills


def test_a_killed_worker_s_study_is_gone_on_with_when_its_lease_ends(url: str, start: Callable[..., int], expected: str) -> None:
    with open_store(url) as store:
        study = submit(store, SMALL)
        pid = start(url)
        until(lambda: len(scored(store, study)) >= 2)
        kill(pid)
        start(url)
        until(lambda: state(store, study) == "done")
        job = jobs.of_study(store, study)
        assert job is not None and (job.attempts, job.claims) == (2, 2)
        assert answer(store, study) == expected


def test_a_worker_that_only_slept_stops_when_another_went_on(
    url: str, start: Callable[..., int], expected: str, tmp_path: Path
) -> None:
    with open_store(url) as store:
        study = submit(store, SMALL)
        pid = start(url, pause_s=0.5)
        until(lambda: len(scored(store, study)) >= 2)
        until(lambda: _sleeps_between_writes(pid, url))
        time.sleep(1.1)
        due_now(store)
        start(url, pause_s=0.05)
        until(lambda: getattr(jobs.of_study(store, study), "claims", 0) == 2)
        os.kill(pid, signal.SIGCONT)
        until(lambda: state(store, study) == "done")
        until(lambda: "left: " in (tmp_path / "log").read_text())
        assert answer(store, study) == expected


def _sleeps_between_writes(pid: int, url: str) -> bool:
    """Returns whether the process was put to sleep; in the middle of a write, which locks everyone out, it is woken again."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    take = "LOCK TABLE studies, trials, jobs IN EXCLUSIVE MODE" if url.startswith("postgresql") else "SELECT 1"
    try:
        with open_store(url, lock_timeout_s=0.3) as store, store.write() as session:
            session.execute(text(take))
    except StoreError:
        os.kill(pid, signal.SIGCONT)
        return False
    return True


def test_sigterm_gives_the_job_back_and_another_worker_goes_on(url: str, start: Callable[..., int], expected: str) -> None:
    with open_store(url) as store:
        study = submit(store, SMALL)
        pid = start(url)
        until(lambda: len(scored(store, study)) >= 2)
        os.kill(pid, signal.SIGTERM)
        until(lambda: not psutil.pid_exists(pid))
        job = jobs.of_study(store, study)
        assert job is not None and (job.state, job.attempts) == ("queued", 0)
        assert state(store, study) == "queued"
        start(url)
        until(lambda: state(store, study) == "done")
        assert answer(store, study) == expected


@pytest.mark.alone
@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_a_cancelled_study_stops_within_two_seconds_and_keeps_what_it_has(
    url: str, start: Callable[..., int], executor: str
) -> None:
    with open_store(url) as store:
        start(url, executor=executor, pause_s=0.1, lease_s=30.0)
        # The machine may have had something else to do: the quickest of three counts.
        assert any(_cancelled_in_s(store) < 2.0 for _ in range(3))


def _cancelled_in_s(store: Store) -> float:
    """Returns the seconds from a study's cancellation to its end."""
    study = submit(store, SMALL)
    until(lambda: len(scored(store, study)) >= 2)
    asked = time.monotonic()
    assert service.cancel(store, study).state == "running"
    until(lambda: state(store, study) == "cancelled")
    took = time.monotonic() - asked
    assert 2 <= len(scored(store, study)) <= 12
    assert getattr(jobs.of_study(store, study), "state", None) == "cancelled"
    return took


# Databases that are away


def test_a_restarted_server_costs_no_trial(start: Callable[..., int], expected: str, tmp_path: Path) -> None:
    with running_server() as server:
        url = server.new_database()
        with open_store(url) as store:
            study = submit(store, SMALL)
            start(url)
            until(lambda: len(scored(store, study)) >= 3)
            before = scored(store, study)
            server.stop()
            time.sleep(2.0)
            server.start()
            check_nothing_lost(before, scored(store, study))
            until(lambda: state(store, study) == "done")
            assert answer(store, study) == expected
            job = jobs.of_study(store, study)
            assert job is not None and (job.claims, job.error) == (1, None), "the same worker went on"
    assert max(Counter(evaluations(tmp_path)).values()) == 1


def test_a_locked_file_costs_no_trial(sqlite_url: str, start: Callable[..., int], expected: str, tmp_path: Path) -> None:
    with open_store(sqlite_url) as store:
        study = submit(store, SMALL)
        start(sqlite_url, lock_timeout_s=0.3)
        until(lambda: len(scored(store, study)) >= 3)
        holder = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
        until(lambda: _locks(holder))
        time.sleep(3.0)
        holder.execute("ROLLBACK")
        holder.close()
        until(lambda: state(store, study) == "done")
        assert answer(store, study) == expected
    assert "another process keeps it locked; what was stored before is kept; tried again" in (tmp_path / "log").read_text()
    assert max(Counter(evaluations(tmp_path)).values()) == 1


def _locks(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        return False
    return True


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yields a folder that is a disk of sixteen megabytes, which anybody may write."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=777", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Returns a file that takes all the room there is."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return ballast


@pytest.fixture(params=["sqlite", "postgresql"])
def on_small_disk(request: pytest.FixtureRequest, small_disk: Path) -> str:
    """Returns the URL of an empty database on the small disk, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{small_disk / 'studies.db'}"
    server: Server = request.getfixturevalue("postgresql")
    return server.new_database(small_disk)


@pytest.mark.parametrize("patience_s", [60.0, 0.5])
def test_a_disk_that_was_full_costs_no_trial(
    on_small_disk: str, small_disk: Path, start: Callable[..., int], expected: str, tmp_path: Path, patience_s: float
) -> None:
    log = tmp_path / "log"
    with open_store(on_small_disk) as store:
        study = submit(store, SMALL)
        start(on_small_disk, patience_s=patience_s, pause_s=0.05)
        until(lambda: len(scored(store, study)) >= 3)
        ballast = fill(small_disk)
        # Where not even that can be written, the lease ends by itself.
        said = ("tried again in",) if patience_s > 1 else ("to be tried again", ": left: ")
        until(lambda: "the disk is full" in log.read_text() and any(words in log.read_text() for words in said))
        before = scored(store, study)
        time.sleep(1.0)
        ballast.unlink()
        check_nothing_lost(before, scored(store, study))
        until(lambda: state(store, study) == "done")
        check_nothing_lost(before, scored(store, study))
        assert answer(store, study) == expected
    if patience_s > 1:
        assert max(Counter(evaluations(tmp_path)).values()) == 1


# Many jobs


def finished_once(store: Store, count: int) -> None:
    """Checks that so many jobs are done, each claimed once."""
    with store.read() as session:
        found = session.execute(text("SELECT state, claims, attempts, count(*) FROM jobs GROUP BY state, claims, attempts")).all()
    assert [tuple(row) for row in found] == [("done", 1, 1, count)]


def test_two_workers_share_fifty_studies_and_none_runs_twice(
    postgresql_url: str, start: Callable[..., int], tmp_path: Path
) -> None:
    with open_store(postgresql_url) as store:
        studies = [service.submit(store, TINY | {"seed": seed}, key_id=f"k{seed % 3}").study.id for seed in range(50)]
        for _ in range(2):
            start(postgresql_url, lease_s=30.0, until_empty=True)
        until(lambda: jobs.counts(store) == {"done": 50}, 300)
        finished_once(store, 50)
        with store.read() as session:
            workers = session.execute(text("SELECT leased_by, count(*) FROM jobs GROUP BY leased_by")).all()
        assert len(workers) == 2 and min(row[1] for row in workers) >= 5
        assert {len(scored(store, study)) for study in studies} == {2}
    counts = Counter(evaluations(tmp_path))
    # Two trials in three phases, the last with fresh seeds: no line comes twice but where two studies' seeds meet.
    assert sum(counts.values()) == 50 * 6


@pytest.mark.parametrize("processes", [4])
def test_a_thousand_studies_all_finish_once(url: str, start: Callable[..., int], tmp_path: Path, processes: int) -> None:
    request = SearchRequest.parse(TINY)
    with open_store(url) as store:
        for _ in range(processes):
            start(url, kind="trivial", lease_s=30.0)
        studies = {service.submit(store, request, key_id=f"k{number % 7}").study.id for number in range(1000)}
        until(lambda: jobs.counts(store) == {"done": 1000}, 300, 0.2)
        finished_once(store, 1000)
        with store.read() as session:
            assert session.scalar(text("SELECT count(*) FROM trials WHERE key = 'run 1'")) == 1000
            assert session.scalar(text("SELECT count(*) FROM trials")) == 1000
    runs = (tmp_path / "runs").read_text().splitlines()
    assert set(runs) == studies and len(runs) == 1000


def test_a_killed_worker_among_several_leaves_no_study_undone(url: str, start: Callable[..., int]) -> None:
    request = SearchRequest.parse(TINY)
    with open_store(url) as store:
        workers = [start(url, kind="trivial") for _ in range(3)]
        for number in range(200):
            service.submit(store, request, key_id=f"k{number % 7}")
            if number in (60, 120):
                kill(workers.pop())
                workers.append(start(url, kind="trivial"))
        until(lambda: jobs.counts(store) == {"done": 200}, 200, 0.2)


# Ray


def test_a_killed_ray_worker_costs_no_trial(sqlite_url: str, start: Callable[..., int], expected: str) -> None:
    with open_store(sqlite_url) as store:
        study = submit(store, SMALL)
        pid = start(sqlite_url, executor="ray", lease_s=30.0)
        killed: list[int] = []

        def struck() -> bool:
            for process in psutil.Process(pid).children(recursive=True):
                try:
                    busy = any("_run_chunk" in part for part in process.cmdline())
                except psutil.Error:
                    continue
                if busy and not killed:
                    process.kill()
                    killed.append(process.pid)
            return bool(killed) or state(store, study) == "done"

        until(struck, pause_s=0.001)
        until(lambda: state(store, study) == "done")
        assert killed
        assert answer(store, study) == expected
        os.kill(pid, signal.SIGTERM)
        until(lambda: not psutil.pid_exists(pid))
        with pytest.raises(StoreError):
            jobs.take(store, "s-none", "me", 1.0)
