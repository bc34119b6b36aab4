"""Copies that are whole while others write, and pruning that takes what is old and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from db import events, keys, queries, record, traces, upkeep
from db.session import Store, open_store
from db.tables import Event, Study, TraceFile
from simulator.errors import InputError, StoreError

Make = Callable[..., Any]
LATER = timedelta(days=1)


def test_a_copy_made_while_others_write_is_a_whole_store(tmp_path: Path, new_study: Make, result: Make, point: Make) -> None:
    with open_store(tmp_path / "s.db") as store:
        study, stop = new_study(store), threading.Event()

        def write() -> None:
            number = 0
            while not stop.is_set():
                record.upsert_trial(store, study.id, result(f"k{number}"), [point(), point(2.0)])
                number += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            while not queries.trials(store, study.id):
                pass
            for number in range(3):
                upkeep.backup(tmp_path / "s.db", tmp_path / f"copy{number}.db")
        finally:
            stop.set()
            writer.join()
        before = len(queries.trials(store, study.id))
    for number in range(3):
        with open_store(tmp_path / f"copy{number}.db") as copy:
            trials, points = queries.trials(copy, study.id), queries.points(copy, study.id)
            assert 1 <= len(trials) <= before and len(points) == 2 * len(trials)
    assert not list(tmp_path.glob(".*part*"))


def test_a_copy_is_refused_where_it_cannot_be_made(tmp_path: Path, new_study: Make) -> None:
    db = tmp_path / "s.db"
    with open_store(db) as store:
        new_study(store)
    with pytest.raises(InputError, match="another file"):
        upkeep.backup(db, db)
    with pytest.raises(InputError, match="exists"):
        upkeep.backup(tmp_path / "none.db", tmp_path / "c.db")
    with pytest.raises(InputError, match="pg_dump"):
        upkeep.backup("postgresql://u:secret@h/n", tmp_path / "c.db")
    (tmp_path / "broken.db").write_bytes(b"no database" * 1000)
    (tmp_path / "good.db").write_bytes(b"kept")
    with pytest.raises(StoreError):
        upkeep.backup(tmp_path / "broken.db", tmp_path / "good.db")
    assert (tmp_path / "good.db").read_bytes() == b"kept"


def test_postgresql_comes_back_from_its_dump(postgresql_url: str, tmp_path: Path, new_study: Make) -> None:
    if shutil.which("pg_dump") is None or shutil.which("pg_restore") is None:
        pytest.skip("pg_dump and pg_restore are not in PATH")
    with open_store(postgresql_url) as store:
        study = new_study(store)
        row, _ = traces.add(store, b"content", "t", {})
    dump = tmp_path / "store.dump"
    _run("pg_dump", "--format=custom", f"--file={dump}", f"--dbname={postgresql_url}")
    with open_store(postgresql_url) as store:
        record.delete_study(store, study.id)
        traces.remove(store, row.sha256)
    _run("pg_restore", "--clean", "--if-exists", "--exit-on-error", f"--dbname={postgresql_url}", str(dump))
    with open_store(postgresql_url) as store:
        assert queries.study(store, study.id).name == study.name
        assert traces.content(store, row.sha256) == b"content"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def _aged(store: Store, study_id: str, days: int) -> None:
    moment = datetime.now(UTC) - timedelta(days=days)
    with store.write() as session:
        session.execute(update(Study).where(Study.id == study_id).values(created_at=moment, finished_at=moment))
        session.execute(update(Event).where(Event.study_id == study_id).values(created_at=moment))


def test_pruning_takes_what_is_old_over_and_not_kept(store: Store, new_study: Make, result: Make, point: Make) -> None:
    row, _ = traces.add(store, f"needed {datetime.now(UTC)}".encode(), "t", {})
    old, kept, fresh, running = (new_study(store, name) for name in ("old", "kept", "fresh", "running"))
    with store.write() as session:
        needs = {"workload": {"trace": f"sha256:{row.sha256}"}}
        session.execute(update(Study).where(Study.id == old.id).values(request=needs))
        session.execute(update(TraceFile).values(created_at=datetime.now(UTC) - timedelta(days=200)))
    for study in (old, kept, fresh):
        record.upsert_trial(store, study.id, result(), [point()])
        events.append(store, study.id, "progress", {"done": 1})
        record.finish_study(store, study.id, "done")
    for study, days in ((old, 100), (kept, 100), (running, 100)):
        _aged(store, study.id, days)
    before = datetime.now(UTC) - timedelta(days=90)
    told = upkeep.prune(store, before, keep=frozenset({"kept"}), dry_run=True)
    assert told["studies"] == 1 and len(queries.studies(store)) == 4, "only counted"
    assert upkeep.prune(store, before, keep=frozenset({"kept"})) == told
    assert {line.study.name for line in queries.studies(store)} == {"kept", "fresh", "running"}
    assert queries.points(store, old.id) == [] and traces.find(store, row.sha256) is None
    assert len(events.since(store, fresh.id)) >= 1 and events.since(store, kept.id) == []
    assert upkeep.prune(store, before, keep=frozenset({"kept"}))["studies"] == 0


def test_a_trace_that_a_study_needs_or_that_is_new_is_not_pruned(store: Store, new_study: Make) -> None:
    needed, _ = traces.add(store, b"one", "t", {})
    fresh, _ = traces.add(store, b"two", "t", {})
    study = new_study(store)
    with store.write() as session:
        session.execute(
            update(Study).where(Study.id == study.id).values(request=json.loads(f'{{"trace": "sha256:{needed.sha256}"}}'))
        )
        past = datetime.now(UTC) - timedelta(days=200)
        session.execute(update(TraceFile).where(TraceFile.sha256 == needed.sha256).values(created_at=past))
    upkeep.prune(store, datetime.now(UTC) - LATER)
    assert traces.find(store, needed.sha256) and traces.find(store, fresh.sha256)


def test_the_schema_moves_down_and_up(url: str) -> None:
    with open_store(url) as store:
        assert upkeep.move(store, "r0001") == "r0001"
        assert upkeep.writable(url) == "r0001"
        with pytest.raises(InputError, match="--to"):
            upkeep.move(store, "r9999")
    with open_store(url) as store:
        keys.create(store, "again", ["read"])


def test_two_of_a_name_are_revoked_by_id(store: Store) -> None:
    one, _ = keys.create(store, "twin", ["read"])
    two, secret = keys.create(store, "twin", ["read"])
    with pytest.raises(InputError, match="2 keys"):
        keys.revoke(store, "twin")
    keys.revoke(store, one.id)
    assert keys.by_secret(store, secret) is not None
    keys.revoke(store, two.id)
    assert keys.by_secret(store, secret) is None
