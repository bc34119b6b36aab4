"""What webhooks are sent, on both databases, to a real server: signed, again after failures, by one sender."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from db import outbox, webhooks
from db.session import Store, open_store
from db.webhook_rows import Parcel
from search.delivering import Sender, Sending, from_environment, send_due, signed
from simulator.errors import InputError
from tests.api.asking import until
from tests.databases import postgresql, postgresql_url, sqlite_url, url
from tests.receiver import HERE, ended, hook, make_due, only, receiving
from tests.shared import REPOSITORY

__all__ = ["postgresql", "postgresql_url", "sqlite_url", "url"]


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with open_store(url) as opened:
        yield opened


# What is sent


def test_a_delivery_is_signed_so_that_its_receiver_can_tell(store: Store) -> None:
    with receiving() as receiver:
        secret, study = hook(store, receiver), ended(store)
        assert send_due(store, HERE) == 1
        (got,) = receiver.got
        assert got.is_signed_by(secret) and not got.is_signed_by("whsec_" + "A" * 44)
        assert Webhook(secret).verify(got.body, got.headers)["data"]["id"] == study.id
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(got.body.replace(b"done", b"fail"), got.headers)
        assert got.path == "/hook?from=trimtab" and got.headers["host"] == f"127.0.0.1:{receiver.port}"
        assert got.headers["content-type"] == "application/json" and got.headers["webhook-id"] == only(store).id
        assert abs(int(got.headers["webhook-timestamp"]) - time.time()) < 30
        body = json.loads(got.body)
        assert (body["type"], body["data"]["sentence"]) == ("study.done", "caf\u00e9")
        assert (only(store).state, only(store).status, only(store).attempts) == ("done", 204, 1)
        assert send_due(store, HERE) == 0 and len(receiver.got) == 1


def test_the_signature_of_a_known_message_is_the_known_one() -> None:
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", '{"test": 2432232314}'
    parcel = Parcel(id="msg_p5jXN8AQM9LWM0D4loKWxJek", webhook_id="w", claims=1, attempts=1, max_attempts=1,
                    body=body, url="", secret=secret)  # fmt: skip
    headers = signed(parcel, datetime.fromtimestamp(1614265330.75, UTC))
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-timestamp"] == "1614265330"


# Again, and no more


def test_after_a_failure_the_same_message_is_sent_again_later_with_a_new_signature(store: Store) -> None:
    with receiving(500, 503, 200) as receiver:
        secret = hook(store, receiver)
        ended(store)
        for attempt, status in enumerate((500, 503), 1):
            before = datetime.now(UTC)
            assert send_due(store, HERE) == 1
            row, after = only(store), datetime.now(UTC)
            assert (row.state, row.status, row.attempts, row.error) == ("waiting", status, attempt, f"it answered {status}")
            shortest, longest = (timedelta(seconds=share * outbox.delay_s(attempt)) for share in (0.8, 1.2))
            assert before + shortest <= row.not_before <= after + longest
            assert send_due(store, HERE) == 0, "it is not due yet"
            make_due(store)
        assert send_due(store, HERE) == 1 and only(store).state == "done"
        assert len({got.headers["webhook-id"] for got in receiver.got}) == 1 and len({got.body for got in receiver.got}) == 1
        assert all(got.is_signed_by(secret) for got in receiver.got) and len(receiver.got) == 3


def test_who_does_not_answer_in_time_is_tried_again(store: Store) -> None:
    with receiving(-1, 200) as receiver:
        hook(store, receiver)
        ended(store)
        began = time.monotonic()
        send_due(store, Sending(to_private=True, timeout_s=0.3))
        assert time.monotonic() - began < 20
        assert (only(store).state, only(store).status, only(store).error) == ("waiting", None, "no answer within 0.3 s")
        make_due(store)
        send_due(store, HERE)
        assert only(store).state == "done"


def test_nobody_there_and_no_such_name_are_told_in_a_line(store: Store) -> None:
    with receiving() as receiver:
        gone = receiver.url
    for place in (gone, "http://nowhere.invalid/"):
        webhooks.add(store, place)
    ended(store)
    assert send_due(store, HERE) == 2
    errors = {row.error or "" for row in webhooks.deliveries(store)}
    assert {error.split(":")[0] for error in errors} == {"it cannot be reached", "its name cannot be resolved"}
    assert all("\n" not in error for error in errors)


def test_it_gives_up_after_its_attempts_and_at_once_where_it_is_told_to(store: Store) -> None:
    with receiving(500) as receiver:
        hook(store, receiver)
        ended(store)
        for _ in range(outbox.MAX_ATTEMPTS):
            make_due(store)
            assert send_due(store, HERE) == 1
        assert only(store).state == "failed" and len(receiver.got) == outbox.MAX_ATTEMPTS
        make_due(store)
        assert send_due(store, HERE) == 0
        receiver.answers = [410]
        study = ended(store)
        send_due(store, HERE)
        assert study.state == "done" and [row.state for row in webhooks.deliveries(store)] == ["failed", "failed"]


def test_retries_of_what_failed_together_are_spread() -> None:
    stretches = [Sending().stretch() for _ in range(200)]
    assert all(0.8 <= stretch <= 1.2 for stretch in stretches) and max(stretches) - min(stretches) > 0.2


def test_one_that_hangs_holds_up_no_other(store: Store) -> None:
    with receiving(-1) as slow, receiving() as quick:
        hook(store, slow)
        hook(store, quick)
        ended(store)
        began = time.monotonic()
        send_due(store, Sending(to_private=True, timeout_s=1.5))
        assert time.monotonic() - began < 20
        assert sorted(row.state for row in webhooks.deliveries(store)) == ["done", "waiting"]


# Senders


def test_two_senders_deliver_each_message_once(store: Store) -> None:
    with receiving() as receiver, Sender(store, HERE), Sender(store, HERE):
        hook(store, receiver)
        for number in range(30):
            ended(store, f"study {number}")
        until(lambda: webhooks.counts(store) == {"done": 30}, 60, "not all were delivered")
    ids = [got.headers["webhook-id"] for got in receiver.got]
    assert len(ids) == len(set(ids)) == 30


def test_a_sender_that_is_told_to_end_does_so_in_seconds_and_loses_nothing(store: Store) -> None:
    with receiving(-1, 200) as receiver:
        hook(store, receiver)
        ended(store)
        with Sender(store, HERE):
            until(lambda: bool(receiver.got), 30, "nothing was sent")
            began = time.monotonic()
        assert time.monotonic() - began < 20, "well before the receiver would have answered"
        assert (only(store).state, only(store).error) == ("waiting", "its sender was stopped")
        make_due(store)
        send_due(store, HERE)
        assert only(store).state == "done"


KILLED = """
import sys
from db.session import open_store
from search.delivering import Sending, send_due
with open_store(sys.argv[1]) as store:
    send_due(store, Sending(to_private=True, lease_s=float(sys.argv[2]), timeout_s=60))
"""


def test_a_sender_that_is_killed_leaves_its_delivery_to_the_next(store: Store, url: str) -> None:
    with receiving(-1, 200) as receiver:
        hook(store, receiver)
        ended(store)
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        process = subprocess.Popen([sys.executable, "-c", KILLED, url, "1.5"], env=environment)
        try:
            until(lambda: bool(receiver.got), 60, "nothing was sent")
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        with Sender(store, HERE):
            until(lambda: only(store).state == "done", 30, "nobody went on")
    first, second = receiver.got
    assert first.headers["webhook-id"] == second.headers["webhook-id"] and first.body == second.body
    assert only(store).attempts == 2


# Settings and failures


def test_the_environment_of_a_command_says_yes_or_no(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, allowed in (("1", True), ("TRUE", True), ("0", False), ("", False)):
        monkeypatch.setenv("TRIMTAB_WEBHOOKS_TO_PRIVATE", value)
        assert from_environment().to_private is allowed
    monkeypatch.setenv("TRIMTAB_WEBHOOKS_TO_PRIVATE", "perhaps")
    with pytest.raises(InputError, match="TRIMTAB_WEBHOOKS_TO_PRIVATE"):
        from_environment()


def test_a_store_that_fails_ends_no_sender(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from simulator.errors import StoreError

    real, failed = outbox.claim, threading.Event()

    def claim(*given: Any, **more: Any) -> list[Parcel]:
        if not failed.is_set():
            failed.set()
            raise StoreError("the store is away")
        return real(*given, **more)

    monkeypatch.setattr(outbox, "claim", claim)
    with open_store(sqlite_url) as store, receiving() as receiver, Sender(store, HERE):
        hook(store, receiver)
        ended(store)
        until(lambda: bool(receiver.got), 30, "the sender ended")
    assert failed.is_set()


def test_a_delivery_that_waited_for_days_keeps_the_time_of_its_event(sqlite_url: str) -> None:
    with open_store(sqlite_url) as store, receiving() as receiver:
        hook(store, receiver)
        ended(store)
        later = datetime.now(UTC) + timedelta(days=2)
        (parcel,) = outbox.claim(store, 1, -1.0)
        assert int(signed(parcel, later)["webhook-timestamp"]) == int(later.timestamp())
        assert datetime.fromisoformat(json.loads(parcel.body)["timestamp"]) < later - timedelta(days=1)
