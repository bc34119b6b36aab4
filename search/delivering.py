"""Sending what lies in the outbox: signed as Standard Webhooks says, many at a time, tried again later where it failed."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from db import outbox
from db.session import Store
from db.webhook_rows import Parcel
from search.patience import Patience
from simulator.errors import InputError, StoreError

if TYPE_CHECKING:
    from search.outward import Answer

TO_PRIVATE = "TRIMTAB_WEBHOOKS_TO_PRIVATE"
_YES, _NO = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")
AT_ONCE = 16
# The status of a receiver that wants no more.
GONE = 410
# Retries of many deliveries that failed together are spread over so much of the wait.
SPREAD = 0.2
# How long a command sends before it ends, and a sender goes on that is told to stop.
LAST_S, GRACE_S = 15.0, 1.0
Run = Callable[[Coroutine[Any, Any, "list[Answer]"]], "list[Answer]"]
log = logging.getLogger("trimtab.webhooks")


@dataclass(frozen=True)
class Sending:
    """How deliveries are sent: to addresses that are not public too, for how long each, and under which lease."""

    to_private: bool = False
    timeout_s: float = 10.0
    lease_s: float = 60.0
    poll_s: float = 1.0
    stretch: Callable[[], float] = lambda: random.uniform(1 - SPREAD, 1 + SPREAD)


def from_environment() -> Sending:
    """Returns the settings of a command, with TRIMTAB_WEBHOOKS_TO_PRIVATE; raises InputError where that says neither yes nor no."""
    text = os.environ.get(TO_PRIVATE, "").strip().lower()
    if text not in (*_YES, *_NO):
        raise InputError(TO_PRIVATE, text, "1 or 0")
    return Sending(to_private=text in _YES)


class Sender:
    """Sends what is due from `with` to its end, in a thread of its own; any number of processes may do so on one store."""

    def __init__(self, store: Store, how: Sending) -> None:
        self.store, self.how = store, how
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="webhooks", daemon=True)

    def __enter__(self) -> Self:
        """Begins to send and returns the sender."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Ends within seconds; what was being sent is tried again, by whoever comes next."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        away = False
        with asyncio.Runner() as runner:
            while not self._over.is_set():
                try:
                    count, away = _send(runner.run, self.store, self.how, self._over.is_set), False
                except StoreError as error:
                    if not away:
                        log.warning("nothing can be delivered: %s", error)
                    count, away = 0, True
                if not count:
                    self._over.wait(self.how.poll_s)


def send_due(store: Store, how: Sending, only: str | None = None, seconds: float = LAST_S) -> int:
    """Returns how many deliveries were attempted until none was due, or for so many seconds; `only` names the one that is wanted.

    Raises nothing for a store that fails: what is not sent now stays for the next sender.
    """
    until, sent = time.monotonic() + seconds, 0
    try:
        while time.monotonic() < until and (count := _send(asyncio.run, store, how, lambda: False, only)):
            sent += count
    except StoreError as error:
        log.warning("not all could be delivered: %s", error)
    return sent


def _send(run: Run, store: Store, how: Sending, ending: Callable[[], bool], only: str | None = None) -> int:
    """Returns how many deliveries were attempted now, at most `AT_ONCE`; raises StoreError."""
    parcels = outbox.claim(store, AT_ONCE, how.lease_s, only)
    if not parcels:
        return 0
    patience = Patience(how.lease_s / 2, ending)
    for parcel, answer in zip(parcels, run(_answers(parcels, how, ending)), strict=True):
        _note(store, parcel, answer, how, patience)
    return len(parcels)


async def _answers(parcels: Sequence[Parcel], how: Sending, ending: Callable[[], bool]) -> list[Answer]:
    """Returns what came of each; a moment after `ending` those still under way are broken off."""
    from search.outward import Answer

    tasks = [asyncio.create_task(_attempt(parcel, how)) for parcel in parcels]
    pending = set(tasks)
    while pending and not ending():
        _, pending = await asyncio.wait(pending, timeout=0.1)
    if pending:
        _, pending = await asyncio.wait(pending, timeout=GRACE_S)
    for task in pending:
        task.cancel()
    told = await asyncio.gather(*tasks, return_exceptions=True)
    return [each if isinstance(each, Answer) else Answer(None, _why(each)) for each in told]


def _why(error: BaseException) -> str:
    return "its sender was stopped" if isinstance(error, asyncio.CancelledError) else f"{type(error).__name__}: {error}"


async def _attempt(parcel: Parcel, how: Sending) -> Answer:
    from search.outward import post

    return await post(
        parcel.url, parcel.body.encode(), signed(parcel, datetime.now(UTC)), to_private=how.to_private, timeout_s=how.timeout_s
    )


def signed(parcel: Parcel, now: datetime) -> dict[str, str]:
    """Returns the headers of an attempt: the same id in each, the time of this one in whole seconds, and the signature of both."""
    from standardwebhooks import Webhook

    return {
        "Content-Type": "application/json",
        "User-Agent": "trimtab",
        "webhook-id": parcel.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(parcel.secret).sign(parcel.id, now, parcel.body),
    }


def _note(store: Store, parcel: Parcel, answer: Answer, how: Sending, patience: Patience) -> None:
    told = {"webhook": parcel.webhook_id, "delivery": parcel.id, "attempt": parcel.attempts, "status": answer.status}
    if answer.error is None and answer.status is not None:
        patience(outbox.delivered, store, parcel, answer.status)
        log.info("delivered", extra=told)
        return
    error, again = answer.error or "", answer.status != GONE
    later = patience(outbox.refused, store, parcel, answer.status, error, how.stretch(), again=again)
    log.warning("webhook %s: %s; %s", parcel.webhook_id, error, "it is tried again later" if later else "given up", extra=told)
