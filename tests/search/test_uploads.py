"""Uploaded traces: read before they are kept, kept once, found again whole, and nothing that they can do to the machine."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from db import record, traces
from db.session import Store, open_store
from search import uploads
from simulator import uploads as kept
from simulator.draw import draw
from simulator.errors import InputError, StoreError
from simulator.spec.workload import Workload

CSV = b"arrived_at,num_prefill_tokens,num_decode_tokens\n0,100,10\n2,200,20\n4,300,30\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIMTAB_TRACES", str(tmp_path / "traces"))
    return tmp_path / "traces"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "s.db") as opened:
        yield opened


def test_a_trace_is_kept_once_under_its_hash_with_what_is_in_it(store: Store) -> None:
    row, is_new = uploads.add(store, CSV, "mine.csv")
    again, is_new_again = uploads.add(store, CSV, "other.csv")
    assert (is_new, is_new_again) == (True, False)
    assert row.sha256 == again.sha256 == hashlib.sha256(CSV).hexdigest()
    told = uploads.document(again)
    assert (told["name"], told["format"], told["rows"], told["duration_s"], told["rate_rps"]) == ("mine.csv", "vidur", 3, 4.0, 0.5)
    assert (told["mean_prompt_tokens"], told["mean_output_tokens"]) == (200.0, 20.0)
    assert [row.sha256 for row in traces.listed(store)] == [row.sha256]


@pytest.mark.parametrize("data", [CSV, gzip.compress(CSV, mtime=0)], ids=["plain", "gzip"])
def test_a_workload_that_names_an_upload_draws_what_its_file_would(store: Store, tmp_path: Path, data: bytes) -> None:
    row, _ = uploads.add(store, data)
    workload = Workload.parse({"trace": f"sha256:{row.sha256}"})
    with pytest.raises(InputError, match="uploaded"):
        draw(workload, 3, 0)
    uploads.fetch(store, workload)
    (tmp_path / "plain.csv").write_bytes(data)
    plain = draw(Workload.parse({"trace": str(tmp_path / "plain.csv")}), 3, 0)
    assert list(draw(workload, 3, 0).prompt_tokens) == list(plain.prompt_tokens)


def test_a_copy_that_was_changed_is_not_read_and_is_fetched_anew(store: Store, folder: Path) -> None:
    row, _ = uploads.add(store, CSV)
    workload = Workload.parse({"trace": f"sha256:{row.sha256}"})
    uploads.fetch(store, workload)
    (folder / row.sha256).write_bytes(CSV.replace(b"300", b"301"))
    with pytest.raises(InputError, match="damaged"):
        draw(workload, 3, 0)
    uploads.fetch(store, workload)
    assert draw(workload, 3, 0).prompt_tokens[-1] == 300


def test_content_that_is_damaged_in_the_store_is_not_given_out(store: Store) -> None:
    row, _ = uploads.add(store, CSV)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE traces SET content = x'00'")
    with pytest.raises(StoreError, match="damaged"):
        traces.content(store, row.sha256)


def test_a_hash_that_is_a_path_or_not_there_is_refused(store: Store) -> None:
    for name in ("sha256:../../etc/passwd", "sha256:", "sha256:" + "0" * 63, "sha256:" + "A" * 64, "sha256:" + "0" * 64):
        with pytest.raises(InputError, match=r"workload\.trace"):
            uploads.fetch(store, Workload.parse({"trace": name}))
    with pytest.raises(InputError, match="hash"):
        kept.keep("sha256:" + "0" * 64, CSV)


def test_a_trace_that_a_study_needs_stays(store: Store) -> None:
    row, _ = uploads.add(store, CSV)
    given = {"digest": "d", "seed": 0, "versions": {}, "kernel_digest": "k"}
    study = record.create_study(
        store,
        name="a",
        request={"workload": {"trace": f"sha256:{row.sha256}"}},
        **given,  # type: ignore[arg-type]
    )
    with pytest.raises(InputError, match=study.id):
        traces.remove(store, row.sha256)
    record.delete_study(store, study.id)
    traces.remove(store, row.sha256)
    assert traces.find(store, row.sha256) is None


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (CSV + b"5,nan,1\n", "line 5"),
        (CSV + b"5,-1,1\n", "line 5"),
        (CSV + b"5,1e400,1\n", "line 5"),
        (CSV + b"1,1,1\n", "line 5"),
        (CSV + b"5,1\n", "line 5"),
        (b"\x89PNG\r\n\x1a\n\0\0", "binary"),
        (b"", "empty"),
        (b"a,b\n1,2\n", "columns"),
        (gzip.compress(CSV, mtime=0)[:-9], "cut short"),
        (b"\x1f\x8b" + b"x" * 50, "gzip"),
        (CSV + b"5," + b"9" * 200_000 + b",1\n", "line 5"),
        (b'{"timestamp": ' + b"[" * 200_000 + b"\n", "line 1"),
        (",".join(f"c{n}" for n in range(5000)).encode() + b"\n", "at most 1,000"),
        (b"\n".join(json.dumps({f"k{n}": 1}).encode() for n in range(5000)), "at most 1,000"),
    ],
)
def test_a_file_that_is_no_trace_is_refused_in_one_line_and_not_kept(store: Store, data: bytes, told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        uploads.add(store, data, "t.csv")
    assert "\n" not in str(error.value) and len(str(error.value)) < 2000
    assert traces.listed(store) == []


def test_what_unpacks_to_too_much_is_refused_without_being_unpacked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(b"0" * (20 * 2**20))
    monkeypatch.setattr(uploads, "MOST_UNPACKED_BYTES", 2**20)
    with pytest.raises(InputError, match="unpacked"):
        uploads.add(store, bomb)
    monkeypatch.setattr(uploads, "MOST_BYTES", 10)
    with pytest.raises(InputError, match="at most 10 bytes"):
        uploads.add(store, CSV)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("../../etc/passwd", "passwd"), ("C:\\x\\..", "trace"), ("a\0b\n.csv", "ab.csv"), ("", "trace"), ("x" * 500, "x" * 100)],
)
def test_a_name_is_shown_and_is_no_path(name: str, shown: str) -> None:
    assert uploads.shown_name(name) == shown
