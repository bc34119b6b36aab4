"""What webhooks are told of a drift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from db import outbox
from db.session import Store

EVENT = "drift"


def tell(store: Store, document: Mapping[str, Any]) -> int:
    """Returns how many webhooks are told of a report: none where the study's answer stands."""
    if document["standing"]["stands"]:
        return 0
    with store.write() as session:
        return outbox.enqueue(session, EVENT, _told(document))


def _told(document: Mapping[str, Any]) -> dict[str, Any]:
    study, stands, again = document["study"], document["standing"], document["search"]
    return {
        "study": study["id"],
        "name": study["name"],
        "trace": document["trace"]["trace"],
        "trial": stands["trial"],
        "drifted": list(document["drifted"]),
        "sentence": stands["verdict"],
        "replicas": stands["replicas"],
        "needed": {load["name"]: load["needed"] for load in stands["loads"]},
        "search": None if again is None else {name: again[name] for name in ("study", "name", "sentence")},
        "path": f"/studies/{study['id']}",
    }
