"""Webhooks and their outbox in the store, on both databases: what is written with what happened, and who may send it when."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import text, update

from db import jobs, outbox, record, upkeep, webhooks
from db.jobs import NewStudy
from db.session import Store
from db.webhook_rows import EVENTS, Parcel, WebhookRow
from db.webhook_tables import Delivery
from simulator.errors import InputError
from tests.nights import night, nights

Make = Callable[..., Any]
URL = "https://example.com/hook?x=1"


def hook(store: Store, *events: str) -> WebhookRow:
    return webhooks.add(store, URL, events)[0]


def told(store: Store) -> list[str]:
    """Returns the events in the outbox, oldest first."""
    return [row.event for row in reversed(webhooks.deliveries(store))]


def claimed(store: Store, lease_s: float = 60.0) -> Parcel:
    (parcel,) = outbox.claim(store, 8, lease_s)
    return parcel


def make_due(store: Store) -> None:
    """Lets every delivery that waits for its next attempt be due now."""
    with store.write() as session:
        session.execute(text("UPDATE webhook_deliveries SET not_before = created_at"))


# Webhooks


def test_a_webhook_is_listed_without_its_secret_and_removed_with_what_waits_for_it(store: Store) -> None:
    row, secret = webhooks.add(store, URL, ["regression", "study.done"])
    assert secret.startswith("whsec_") and len(secret) == len("whsec_") + 44
    assert row.on == ["study.done", "regression"]
    assert webhooks.webhooks(store) == [row] and secret not in repr(webhooks.webhooks(store))
    assert outbox.ping(store, row.id).webhook_id == row.id
    assert webhooks.remove(store, row.id) == row
    assert webhooks.webhooks(store) == [] and webhooks.deliveries(store) == []
    for ask in (webhooks.webhook, webhooks.remove, outbox.ping):
        with pytest.raises(InputError, match="webhook: "):
            ask(store, row.id)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://",
        "http:///x",
        "http://user:password@example.com/",
        "https://example.com/#part",
        "https://example.com:99999/",
        "https://example.com:0/",
        "https://[::1/",
        "https://exa mple.com/",
        "https://example.com/\r\nX: y",
        "https://example.com\\@localhost/",
        "https://b\u00fccher.example/",
        "https://example.com/" + "x" * 2000,
    ],
)
def test_what_nothing_can_be_sent_to_is_refused(store: Store, url: str) -> None:
    with pytest.raises(InputError, match="url: "):
        webhooks.add(store, url)
    assert webhooks.webhooks(store) == []


def test_an_event_that_there_is_not_is_refused_with_those_that_there_are(store: Store) -> None:
    with pytest.raises(InputError, match=r"on: 'study.won' is not allowed; allowed: .*study\.done"):
        webhooks.add(store, URL, ["study.won"])


# What is written


@pytest.mark.parametrize("state", ["done", "infeasible", "cancelled", "failed"])
def test_the_end_of_a_study_is_told_once_to_whoever_wants_it(store: Store, new_study: Make, state: Any) -> None:
    every, mine, other = hook(store), hook(store, f"study.{state}"), hook(store, "regression")
    study = new_study(store)
    record.finish_study(store, study.id, state, {"sentence": "why"})
    record.finish_study(store, study.id, "done", {})
    rows = webhooks.deliveries(store)
    assert {row.webhook_id for row in rows} == {every.id, mine.id} and len(rows) == 2
    assert webhooks.deliveries(store, webhook_id=other.id) == []
    for parcel in outbox.claim(store, 8, 60.0):
        body = json.loads(parcel.body)
        assert body["type"] == f"study.{state}" and datetime.fromisoformat(body["timestamp"]).tzinfo is not None
        assert body["data"] == {
            "id": study.id, "name": "chat", "state": state, "sentence": "why", "path": f"/studies/{study.id}",
        }  # fmt: skip


def test_a_cancelled_and_a_failed_job_tell_of_their_study(store: Store) -> None:
    hook(store)
    new = NewStudy(name="chat", digest="d0", request={}, seed=0, versions={}, kernel_digest="k0")
    jobs.request_cancel(store, jobs.submit(store, new).study.id)
    jobs.submit(store, new)
    job = jobs.claim(store, "w", 60.0)
    assert job is not None
    jobs.fail(store, job, "broken", retry=False)
    assert told(store) == ["study.cancelled", "study.failed"]


def test_a_run_that_found_regressions_is_told_and_another_is_not(store: Store) -> None:
    hook(store, "regression")
    night(store, 0)
    assert told(store) == []
    moved = nights(store, 2)[-1]
    body = json.loads(claimed(store).body)
    assert body["type"] == "regression"
    assert (body["data"]["id"], body["data"]["changed"], body["data"]["findings"]) == (moved.id, ["one H100, chat"], 1)
    assert body["data"]["sentences"][0].startswith("one H100, chat: capacity_rps went from 20")


def test_what_is_not_kept_is_not_told(store: Store, new_study: Make) -> None:
    hook(store)
    study = new_study(store)
    with pytest.raises(ZeroDivisionError), store.write() as session:
        record.finished(session, study.id, "done", None)
        raise ZeroDivisionError
    assert told(store) == []


def test_every_end_of_a_study_is_an_event_that_can_be_asked_for() -> None:
    assert {f"study.{state}" for state in upkeep.OVER} | {"regression", "drift"} == set(EVENTS)


def test_a_webhook_removed_meanwhile_undoes_no_end_of_a_study(store: Store, new_study: Make) -> None:
    row, study = hook(store), new_study(store)
    done: list[str] = []
    with store.write() as session:
        record.finished(session, study.id, "done", None)
        remover = threading.Thread(target=lambda: done.append(webhooks.remove(store, row.id).id))
        remover.start()
        remover.join(0.3)
        assert not done, "it waits for what was to be told"
    remover.join(30)
    assert done == [row.id] and webhooks.deliveries(store) == []


# Who sends it, and when


def test_one_sender_has_a_delivery_until_its_lease_ends(store: Store) -> None:
    outbox.ping(store, hook(store).id)
    with store.write() as session:
        session.execute(update(Delivery).values(max_attempts=2))
    first = claimed(store)
    assert outbox.claim(store, 8, 60.0) == []
    with store.write() as session:
        session.execute(text("UPDATE webhook_deliveries SET lease_until = created_at"))
    second = claimed(store)
    assert second.id == first.id and second.body == first.body and second.claims == first.claims + 1
    assert not outbox.delivered(store, first, 200), "it is another sender's by now"
    assert outbox.delivered(store, second, 204)
    row = webhooks.delivery(store, second.id)
    assert row is not None and (row.state, row.status, row.attempts, row.error) == ("done", 204, 2, None)
    assert outbox.claim(store, 8, 60.0) == []


def test_senders_at_once_get_each_delivery_once(store: Store) -> None:
    row = hook(store)
    ids = {outbox.ping(store, row.id).id for _ in range(40)}
    found: list[str] = []

    def take() -> None:
        while parcels := outbox.claim(store, 3, 60.0):
            found.extend(parcel.id for parcel in parcels)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(ids)


def test_a_webhook_with_much_to_be_told_leaves_room_for_others(store: Store) -> None:
    busy, other = hook(store), hook(store)
    for _ in range(20):
        outbox.ping(store, busy.id)
    late = outbox.ping(store, other.id)
    parcels = outbox.claim(store, 16, 60.0)
    assert late.id in {parcel.id for parcel in parcels} and len(parcels) == outbox.MOST_EACH + 1
    assert len(outbox.claim(store, 2, 60.0)) == 2


def test_a_refused_delivery_is_due_ever_later_and_fails_after_its_attempts(store: Store, new_study: Make) -> None:
    hook(store)
    record.finish_study(store, new_study(store).id, "done")
    waits = []
    for attempt in range(1, outbox.MAX_ATTEMPTS + 1):
        parcel = claimed(store)
        assert parcel.attempts == attempt
        before = datetime.now(UTC)
        assert outbox.refused(store, parcel, 500, "no") is (attempt < outbox.MAX_ATTEMPTS)
        row = webhooks.delivery(store, parcel.id)
        assert row is not None and (row.status, row.error, row.attempts) == (500, "no", attempt)
        waits.append((row.not_before - before).total_seconds())
        if attempt < outbox.MAX_ATTEMPTS:
            assert row.state == "waiting" and outbox.claim(store, 8, 60.0) == []
        make_due(store)
    assert row is not None and row.state == "failed" and row.finished_at is not None and outbox.claim(store, 8, 60.0) == []
    assert waits[:3] == pytest.approx([10, 30, 90], abs=2)
    assert all(later >= earlier - 2 for earlier, later in pairwise(waits[:-1]))
    assert 18 * 3600 < sum(waits[:-1]) < 26 * 3600


def test_one_that_was_begun_for_the_last_time_and_never_ended_is_failed(store: Store) -> None:
    made = outbox.ping(store, hook(store).id)
    claimed(store, lease_s=-1.0)
    assert outbox.claim(store, 8, 60.0) == []
    row = webhooks.delivery(store, made.id)
    assert row is not None and row.state == "failed" and row.error is not None and "without a word" in row.error


def test_what_is_gone_is_neither_done_nor_tried_again(store: Store) -> None:
    row = hook(store)
    outbox.ping(store, row.id)
    parcel = claimed(store)
    webhooks.remove(store, row.id)
    assert not outbox.delivered(store, parcel, 200) and not outbox.refused(store, parcel, None, "x")


def test_pages_of_deliveries_follow_one_another_newest_first(store: Store) -> None:
    row = hook(store)
    made = [outbox.ping(store, row.id).id for _ in range(5)]
    first = webhooks.deliveries(store, 2)
    rest = webhooks.deliveries(store, 9, (first[-1].created_at, first[-1].id))
    assert [each.id for each in (*first, *rest)] == made[::-1]
    assert webhooks.counts(store) == {"waiting": 5}


def test_old_deliveries_that_are_over_are_pruned_and_those_that_wait_stay(store: Store) -> None:
    row = hook(store)
    over, waits = outbox.ping(store, row.id), outbox.ping(store, row.id)
    (parcel,) = outbox.claim(store, 1, 60.0, only=over.id)
    outbox.delivered(store, parcel, 200)
    assert upkeep.prune(store, datetime.now(UTC) + timedelta(days=1))["deliveries"] == 1
    assert [each.id for each in webhooks.deliveries(store)] == [waits.id]
