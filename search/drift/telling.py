"""Webhooks are told of a drift: written to the store's outbox, and sent before the command ends."""

from __future__ import annotations

from typing import Any

from db import outbox
from db.session import Store
from search.delivering import Sending, send_due
from search.drift.document import Drift

EVENT = "drift"


def tell(store: Store, found: Drift, sending: Sending) -> int:
    """Returns how many webhooks are told that a study's answer no longer stands; sends what is due."""
    with store.write() as session:
        count = outbox.enqueue(session, EVENT, _told(found))
    send_due(store, sending)
    return count


def _told(found: Drift) -> dict[str, Any]:
    stands = found.standing
    again = found.search
    return {
        "study": found.study["id"],
        "name": found.study["name"],
        "trace": found.trace["trace"],
        "trial": stands.trial,
        "drifted": list(found.drifted),
        "sentence": stands.verdict,
        "replicas": stands.replicas,
        "needed": {load.name: load.needed for load in stands.loads},
        "search": None if again is None else {"study": again.study, "name": again.name, "sentence": again.sentence},
        "path": f"/studies/{found.study['id']}",
    }
