"""Opening a store: what `--db` may be, and one line about everything that it may not."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from db import migrate, queries
from db.session import open_store
from db.tables import Study
from simulator.errors import InputError, StoreError

Make = Callable[..., Any]


def _refused(db: str | Path) -> str:
    with pytest.raises(InputError) as caught:
        open_store(db)
    assert caught.value.field == "--db"
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_new_place_becomes_an_empty_store_and_stays_one(url: str, new_study: Make) -> None:
    with open_store(url) as store:
        assert queries.studies(store) == []
        study = new_study(store)
    with open_store(url) as store:
        assert queries.study(store, study.id) == study


def test_path_and_url_name_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_study: Make) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a #1?%20é.db"
    with open_store(path.name) as store:
        study = new_study(store)
    for same in (path, str(path)):
        with open_store(same) as store:
            assert queries.study(store, study.id) == study
    with open_store("sqlite:///plain.db") as store:
        study = new_study(store)
    with open_store(tmp_path / "plain.db") as store:
        assert queries.study(store, study.id) == study


def test_sqlite_is_set_to_lose_nothing(sqlite_url: str) -> None:
    open_store(sqlite_url).close()
    with open_store(sqlite_url) as store, store.write() as session:
        told = {name: session.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")}
        assert told == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
        assert session.scalar(text("PRAGMA busy_timeout")) == 30_000


@pytest.mark.parametrize(
    "db", ["", ":memory:", "sqlite://", "sqlite:///:memory:", "mysql://u@h/d", "sqlite:///x.db?mode=ro", "http://x"]
)
def test_what_is_no_place_is_refused(db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "postgresql://" in _refused(db) or "without options" in _refused(db)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named_and_not_made(tmp_path: Path) -> None:
    assert f"{tmp_path / 'absent'} does not" in _refused(tmp_path / "absent" / "x.db")
    assert not (tmp_path / "absent").exists()


def test_a_folder_and_a_device_are_refused(tmp_path: Path) -> None:
    assert "this is a folder" in _refused(tmp_path)
    assert "device" in _refused("/dev/null")


def test_a_file_that_is_no_database_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database at all\n" * 100)
    assert "not a database" in _refused(path)
    assert path.read_text() == "not a database at all\n" * 100


def test_a_database_of_another_program_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE trials (trial_id INTEGER)")
    other.close()
    before = path.read_bytes()
    assert "another program's, with tables trials" in _refused(path)
    assert path.read_bytes() == before


def test_a_postgresql_database_with_colliding_tables_is_refused(postgresql_url: str, engine_of: Make) -> None:
    with engine_of(postgresql_url).begin() as connection:
        connection.execute(text("CREATE TABLE unrelated (id int)"))
    open_store(postgresql_url).close()
    with engine_of(postgresql_url).begin() as connection:
        connection.execute(text("DROP TABLE trimtab_revision"))
    assert "another program's, with tables api_keys, corrections, events," in _refused(postgresql_url)


def test_a_store_of_a_newer_version_is_refused_untouched(url: str, engine_of: Make, new_study: Make) -> None:
    with open_store(url) as store:
        study = new_study(store)
        with store.write() as session:
            session.execute(text(f"UPDATE {migrate.VERSION_TABLE} SET version_num = 'r9999'"))
    assert f"schema {migrate.revisions()[-1]}; this one has r9999" in _refused(url)
    with engine_of(url).connect() as connection:
        assert connection.scalar(text("SELECT id FROM studies")) == study.id


def test_a_server_that_does_not_answer_is_told_without_the_password() -> None:
    line = _refused("postgresql://me:secret@127.0.0.1:1/studies")
    assert "refused" in line
    assert "secret" not in line
    assert "secret" not in _refused("postgresql://me:secret@[::1/studies")


def test_a_read_only_file_is_refused(worker: Any) -> None:
    folder = Path(tempfile.mkdtemp(prefix="trimtab-readonly-"))
    try:
        path = folder / "studies.db"
        open_store(path).close()
        path.chmod(0o444)
        # Root may write everything, so somebody else tries.
        folder.chmod(0o777)
        worker.begin("opens_as", str(path), "nobody") if os.geteuid() == 0 else worker.begin("opens", str(path))
        told = worker.end()
        assert told.startswith("InputError: --db: ") and "read and written" in told
    finally:
        shutil.rmtree(folder)


def test_a_store_that_another_process_locks_is_no_wrong_input(sqlite_url: str, new_study: Make) -> None:
    with open_store(sqlite_url) as store, open_store(sqlite_url, lock_timeout_s=0.1) as second:
        study = new_study(store)
        with store.write() as session:
            session.get(Study, study.id)
            with pytest.raises(StoreError, match="another process keeps it locked"):
                new_study(second)
            assert queries.study(second, study.id) == study, "readers do not wait for a writer"


def test_opening_waits_for_a_process_that_is_making_the_file(sqlite_url: str, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "studies.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, other.execute, ["COMMIT"])
    release.start()
    open_store(sqlite_url).close()
    release.join()
    other.close()


def test_a_new_file_that_stays_locked_is_told_as_such(sqlite_url: str, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "studies.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="locked"):
        open_store(sqlite_url, lock_timeout_s=0.2)
    other.close()
    open_store(sqlite_url).close()
