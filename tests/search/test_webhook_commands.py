"""`trimtab webhooks`, and the commands that tell webhooks before they end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from db import sweeps, webhooks
from db.session import open_store
from search.cli import main
from search.sweep import run as running
from tests.api.asking import REQUEST
from tests.nights import case, night
from tests.receiver import Receiver, receiving
from tests.shared import REPOSITORY

URL = "https://example.com/hook"


@pytest.fixture
def db(tmp_path: Path) -> str:
    return str(tmp_path / "studies.db")


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Yields a receiver to which commands may send."""
    monkeypatch.setenv("TRIMTAB_WEBHOOKS_TO_PRIVATE", "1")
    with receiving() as opened:
        yield opened


def said(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    """Returns what a command line prints."""
    capsys.readouterr()
    assert main(words) == status, capsys.readouterr().err
    out, err = capsys.readouterr()
    return out if status == 0 else err


def documents(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    return json.loads(said(capsys, *words, "--json"))


def test_a_webhook_is_added_listed_and_removed(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "trimtab webhooks add" in said(capsys, "webhooks", "list", "--db", db)
    secret = said(capsys, "webhooks", "add", URL, "--on", "study.done, regression", "--on", "study.failed", "--db", db).strip()
    assert secret.startswith("whsec_")
    (item,) = documents(capsys, "webhooks", "list", "--db", db)["items"]
    assert item["on"] == ["study.done", "study.failed", "regression"] and "secret" not in item
    table = said(capsys, "webhooks", "list", "--db", db)
    assert item["id"] in table and secret not in table
    assert documents(capsys, "webhooks", "add", URL, "--db", db)["secret"].startswith("whsec_")
    assert item["id"] in said(capsys, "webhooks", "remove", item["id"], "--db", db)
    assert len(documents(capsys, "webhooks", "list", "--db", db)["items"]) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("add", "ftp://example.com"), "url: 'ftp://example.com' is not allowed"),
        (("add", URL, "--on", "study.won"), "on: 'study.won'"),
        (("remove", "w-none"), "webhook: 'w-none'"),
        (("test", "w-none"), "webhook: 'w-none'"),
        (("deliveries", "w-none"), "webhook: 'w-none'"),
        (("deliveries", "--limit", "0"), "--limit: 0"),
        (("ad",), "command: 'ad'"),
    ],
)
def test_a_wrong_command_is_refused_in_a_line(
    db: str, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    options = () if words == ("ad",) else ("--db", db)
    error = said(capsys, "webhooks", *words, *options, status=2)
    assert error.startswith(told) and error.count("\n") == 1


def test_a_test_sends_now_and_says_what_came_of_it(
    db: str, capsys: pytest.CaptureFixture[str], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = documents(capsys, "webhooks", "add", receiver.url, "--db", db)
    assert "answered 204" in said(capsys, "webhooks", "test", added["id"], "--db", db)
    (got,) = receiver.got
    assert got.is_signed_by(added["secret"]) and json.loads(got.body)["type"] == "ping"
    receiver.answers = [500]
    assert "it answered 500" in said(capsys, "webhooks", "test", added["id"], "--db", db, status=1)
    monkeypatch.delenv("TRIMTAB_WEBHOOKS_TO_PRIVATE")
    assert "not public" in said(capsys, "webhooks", "test", added["id"], "--db", db, status=1)
    said(capsys, "webhooks", "test", added["id"], "--webhooks-to-private", "--db", db, status=1)
    assert len(receiver.got) == 3
    items = documents(capsys, "webhooks", "deliveries", added["id"], "--db", db)["items"]
    assert [item["state"] for item in items] == ["failed", "failed", "failed", "done"]
    listed = said(capsys, "webhooks", "deliveries", "--db", db)
    assert items[0]["id"] in listed and "it answered 500" in listed, "the error is shown also where not every column fits"
    assert "study.infeasible" in said(capsys, "webhooks", "list", "--db", db)


def test_what_is_due_is_sent_by_command_where_there_is_no_worker(
    db: str, capsys: pytest.CaptureFixture[str], receiver: Receiver
) -> None:
    said(capsys, "webhooks", "add", receiver.url, "--db", db)
    with open_store(db) as store:
        night(store, 0, moved=True)
    assert said(capsys, "webhooks", "send", "--db", db) == "1 attempted; 0 wait\n"
    assert said(capsys, "webhooks", "send", "--db", db) == "0 attempted; 0 wait\n"
    assert json.loads(receiver.got[0].body)["type"] == "regression"


def test_a_sweep_that_found_regressions_tells_before_it_ends(
    db: str, capsys: pytest.CaptureFixture[str], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    said(capsys, "webhooks", "add", receiver.url, "--db", db)
    moved = case("cloud prices", 1, moved=True)
    monkeypatch.setattr(running, "_timed", lambda *_: moved)
    monkeypatch.setattr(running, "_judged", lambda *_: moved)
    suite = str(REPOSITORY / "examples" / "nightly.yaml")
    said(capsys, "sweep", suite, "--only", "cloud prices", "--db", db, status=1)
    body = json.loads(receiver.got[0].body)
    with open_store(db) as store:
        assert body["data"]["id"] == sweeps.run(store, "last").id
        assert [row.state for row in webhooks.deliveries(store)] == ["done"]


def test_a_search_of_the_command_line_tells_before_it_ends(
    db: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], receiver: Receiver
) -> None:
    said(capsys, "webhooks", "add", receiver.url, "--db", db)
    file = tmp_path / "request.yaml"
    file.write_text(json.dumps({**REQUEST, "budget": {"max_gpus": 2, "trials": 1}}))
    document = documents(capsys, "search", str(file), "--db", db, "--executor", "inline")
    body = json.loads(receiver.got[0].body)
    assert (body["type"], body["data"]["id"]) == ("study.done", document["study"]["id"])
