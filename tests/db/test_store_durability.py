"""What was stored stays: many writers, a killed writer, a full disk, a lost server."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from db import queries, record
from db.rows import StudyRow
from db.session import Store, open_store
from simulator.errors import StoreError

Make = Callable[..., Any]


def test_processes_that_read_change_and_write_lose_nothing(
    store: Store, store_url: str, workers: list[Any], new_study: Make
) -> None:
    study = new_study(store)
    for worker in workers:
        worker.begin("increments", store_url, study.id, 100)
    assert [worker.end() for worker in workers] == ["end"] * 4
    assert queries.study(store, study.id).summary == {"count": 400}


def test_processes_that_store_trials_of_one_study_take_turns(
    store: Store, store_url: str, workers: list[Any], new_study: Make
) -> None:
    study = new_study(store)
    # Two and two write the same keys: new trials and replaced ones meet.
    for worker, prefix in zip(workers, "aabb", strict=True):
        worker.begin("trials", store_url, study.id, prefix, 25)
    assert [worker.end() for worker in workers] == ["end"] * 4
    assert [trial.number for trial in queries.trials(store, study.id)] == list(range(50))
    assert len(queries.points(store, study.id)) == 100


def test_a_killed_writer_leaves_every_trial_that_it_reported(store: Store, store_url: str, worker: Any, new_study: Make) -> None:
    study = new_study(store)
    worker.begin("trials", store_url, study.id, "a", 100_000)
    reported = [worker.line() for _ in range(40)]
    os.kill(worker.process.pid, signal.SIGKILL)
    while line := worker.line():
        reported.append(line)
    with open_store(store_url) as reopened:
        kept = queries.trials(reopened, study.id)
        assert {trial.number for trial in kept} >= {int(line) for line in reported if line.endswith("\n")}
        assert len(kept) <= len(reported) + 2, "and no more than was under way"
        assert len(queries.points(reopened, study.id)) == 2 * len(kept), "a trial and its points are one"


def _fill(store: Store, study_id: str, result: Make) -> int:
    """Stores large trials until the store refuses; returns how many it took."""
    for count in range(1000):
        try:
            record.upsert_trial(store, study_id, result(f"big{count}", metrics={"text": "x" * 20_000}))
        except StoreError as error:
            assert "the disk is full; what was stored before is kept" in str(error)
            assert len(str(error).splitlines()) == 1
            return count
    raise AssertionError("the disk never filled")


def _after_a_full_disk(store: Store, study: StudyRow, result: Make, point: Make) -> None:
    first = record.upsert_trial(store, study.id, result("first"), [point()])
    stored = _fill(store, study.id, result)
    assert stored > 0
    assert [trial.key for trial in queries.trials(store, study.id)] == ["first", *(f"big{i}" for i in range(stored))]
    # A larger score of a trial that is there does not fit either, and the one before stays with its points.
    with pytest.raises(StoreError, match="the disk is full"):
        record.upsert_trial(store, study.id, result("first", metrics={"text": "x" * 500_000}), [])
    assert queries.trial(store, study.id, 0) == first
    assert len(queries.points(store, study.id)) == 1


def test_a_database_that_cannot_grow_keeps_what_it_has(sqlite_url: str, new_study: Make, result: Make, point: Make) -> None:
    with open_store(sqlite_url) as store:
        # A limit of pages is what SQLite meets as a full disk.
        store.close()
        event.listen(store.engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count = 100"))
        _after_a_full_disk(store, new_study(store), result, point)
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    plain.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yields a folder that is a disk of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_keeps_what_was_stored(small_disk: Path, new_study: Make, result: Make, point: Make) -> None:
    path = small_disk / "studies.db"
    with open_store(path) as store:
        study = new_study(store)
        _after_a_full_disk(store, study, result, point)
        before = queries.trials(store, study.id)
    with open_store(path) as store:
        assert queries.trials(store, study.id) == before
    with sqlite3.connect(path) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    plain.close()


def test_a_disk_that_is_full_already_is_no_wrong_input(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(b"x" * (1 << 20))
    with pytest.raises(StoreError, match="cannot be opened: the disk is full"):
        open_store(small_disk / "studies.db")
    (small_disk / "ballast").unlink()
    open_store(small_disk / "studies.db").close()


def test_a_failed_write_does_not_spoil_the_next(store: Store, new_study: Make, result: Make) -> None:
    study = new_study(store)
    with pytest.raises(StoreError):
        record.upsert_trial(store, study.id, result("a", state="maybe"))
    assert record.upsert_trial(store, study.id, result("a")).number == 0


def test_a_broken_connection_is_told_and_the_next_write_succeeds(postgresql_url: str, new_study: Make) -> None:
    with open_store(postgresql_url) as store, open_store(postgresql_url) as other:
        study = new_study(store)
        with pytest.raises(StoreError, match="cannot be written") as caught, store.write() as session:
            session.execute(text("SELECT 1"))
            with other.write() as killer:
                killer.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"))
            session.execute(text("SELECT 1"))
        assert len(str(caught.value).splitlines()) == 1
        assert record.start_study(store, study.id).state == "running"
