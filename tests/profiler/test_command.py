"""A command as a process: its answer whole or not at all, its one line, and its end when time is up."""

from __future__ import annotations

import json
from pathlib import Path

from profiler import command


def run(folder: Path, *argv: str, limit_s: float = 60.0) -> command.Ended:
    return command.run(argv, folder / "answer.json", folder / "log", {"TRIMTAB_CATALOG": str(folder)}, limit_s)


def test_it_answers_or_says_why_not(tmp_path: Path) -> None:
    ended = run(tmp_path, "catalog", "devices", "--json")
    assert ended.reason is None and ended.document == json.loads((tmp_path / "answer.json").read_text())
    wrong = run(tmp_path, "catalog", "colours", "--json")
    assert (wrong.kind, wrong.document) == ("wrong_input", None) and wrong.reason is not None
    assert wrong.reason.startswith("KIND: 'colours' is not allowed")
    assert json.loads((tmp_path / "answer.json").read_text()) == ended.document, "an earlier answer stays"
    assert {path.name for path in tmp_path.iterdir()} == {"answer.json", "log"}


def test_it_is_ended_when_time_is_up(tmp_path: Path) -> None:
    ended = run(tmp_path, "catalog", "devices", "--json", limit_s=0.0)
    assert ended.overdue and ended.kind == "overdue" and not list(tmp_path.glob("*.part"))
