"""`trimtab keys`, `prune`, `backup`, `migrate --to` and `doctor` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search import export
from search.cli import main
from search.doctor import findings


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TRIMTAB_DB", str(tmp_path / "s.db"))
    monkeypatch.setenv("TRIMTAB_TRACES", str(tmp_path / "traces"))
    return str(tmp_path / "s.db")


def test_keys_are_made_listed_and_revoked(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "ci", "--scope", "submit", "--expires", "90d", "--quota", "5", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["scopes"] == ["submit"] and made["quota"] == 5 and made["key"].startswith("trimtab_")
    assert main(["keys", "list"]) == 0
    told = capsys.readouterr().out
    assert "ci" in told and made["key"] not in told
    assert main(["keys", "revoke", "ci"]) == 0
    capsys.readouterr()
    assert main(["keys", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"][0]["state"] == "revoked"


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["keys", "create", "a", "--scope", "root"], "scopes: 'root'"),
        (["keys", "create", "a", "--expires", "soon"], "--expires: 'soon'"),
        (["keys", "revoke", "nobody"], "key: 'nobody'"),
        (["prune", "--older-than", "0d"], "--older-than: '0d'"),
        (["migrate", "--to", "r9"], "--to: 'r9'"),
        (["doctor", "--address", "x"], "--address: 'x'"),
    ],
)
def test_wrong_input_is_one_line(db: str, capsys: pytest.CaptureFixture[str], argv: list[str], told: str) -> None:
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(told) and captured.err.count("\n") == 1


def test_a_store_is_copied_pruned_and_moved(db: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate"]) == 0
    assert main(["backup", str(tmp_path / "copy.db")]) == 0
    assert (tmp_path / "copy.db").stat().st_size > 0
    capsys.readouterr()
    assert main(["prune", "--older-than", "90d", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["removed"]["studies"] == 0
    assert main(["migrate", "--to", "r0001"]) == 0
    assert main(["migrate"]) == 0


def test_the_doctor_tells_what_fails_and_what_mends_it(db: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate"]) == 0
    capsys.readouterr()
    assert main(["doctor", "--json"]) == 0
    items = {item["what"]: item for item in json.loads(capsys.readouterr().out)["items"]}
    assert items["store"]["state"] == "ok" and items["sqlalchemy"]["state"] == "ok"
    assert main(["doctor", "--address", "127.0.0.1:1"]) == 1
    assert "fail  ray cluster" in capsys.readouterr().out
    (tmp_path / "broken.db").write_bytes(b"no database" * 1000)
    assert main(["doctor", "--db", str(tmp_path / "broken.db")]) == 1
    assert "fail  store" in capsys.readouterr().out
    assert all(found.fix for found in findings(str(tmp_path / "broken.db")) if found.state == "fail")


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1+1", "@SUM(A1)", "\tx", "\rx"])
def test_no_cell_of_an_export_is_a_formula(cell: str) -> None:
    assert export.inert(cell) == f"'{cell}"
    assert export.inert("plain") == "plain" and export.inert(-1.5) == -1.5
