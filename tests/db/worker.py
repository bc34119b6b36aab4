"""A process of its own that works on stores: it reads `[COMMAND, URL, ...]` line by line and answers `end` or an error."""

from __future__ import annotations

import json
import os
import pwd
import sys
from collections.abc import Callable

from sqlalchemy import select

from db import record
from db.rows import PointResult, TrialResult
from db.session import open_store
from db.tables import Study
from simulator.errors import TrimtabError


def opens(url: str) -> None:
    """Opens the store, and makes it when new."""
    open_store(url).close()


def opens_as(url: str, user: str) -> None:
    """Opens the store as another user."""
    os.setuid(pwd.getpwnam(user).pw_uid)
    opens(url)


def trials(url: str, study_id: str, prefix: str, count: int) -> None:
    """Stores `count` trials of two points each, and prints the number of each once it is stored."""
    with open_store(url) as store:
        for position in range(count):
            points = [PointResult(rate_rps=rate, metrics={}, objectives={}) for rate in (1.0, 2.0)]
            result = TrialResult(key=f"{prefix}{position}", state="done", deployment={}, kernel_digest="k0", seed=0)
            print(record.upsert_trial(store, study_id, result, points).number, flush=True)


def increments(url: str, study_id: str, count: int) -> None:
    """Adds one `count` times to a number that it reads first."""
    with open_store(url) as store:
        for _ in range(count):
            with store.write() as session:
                study = session.scalars(select(Study).where(Study.id == study_id).with_for_update()).one()
                study.summary = {"count": (study.summary or {"count": 0})["count"] + 1}


COMMANDS: dict[str, Callable[..., None]] = {"opens": opens, "opens_as": opens_as, "trials": trials, "increments": increments}

if __name__ == "__main__":
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        try:
            COMMANDS[command](*arguments)
            print("end", flush=True)
        except TrimtabError as error:
            print(f"{type(error).__name__}: {error}", flush=True)
