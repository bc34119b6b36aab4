"""What the routes share: the open store, the processes for short work, the limits."""

from __future__ import annotations

import base64
import binascii
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Path, Request
from starlette.responses import Response

from db.session import Store
from search.bounded import Bounded
from simulator.errors import InputError

PAGE, LARGEST_PAGE = 50, 200
# Of ids and names: nothing that a store or a header cannot hold.
READABLE = r"^[^\x00-\x1f\x7f/\\]+$"


@dataclass(frozen=True)
class Limits:
    """How much one request may ask for: bytes of a body, requests of a simulation, seconds, GPUs, and how many at once."""

    body_bytes: int = 2**20
    num_requests: int = 100_000
    wall_s: float = 30.0
    gpus: int = 4096
    users: int = 20_000
    at_once: int = 2


class Kept:
    """Answers that stay the same, as bytes: those asked for last, up to a number of bytes in all."""

    def __init__(self, most_bytes: int = 64 * 2**20) -> None:
        self._found: OrderedDict[Hashable, bytes] = OrderedDict()
        self._left, self._lock = most_bytes, threading.Lock()

    def get(self, key: Hashable, make: Callable[[], bytes | memoryview]) -> bytes:
        """Returns the answer under `key`, made where it is not known."""
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                return self._found[key]
        made = bytes(make())
        with self._lock:
            if key not in self._found:
                self._found[key] = made
                self._left -= len(made)
            while self._left < 0 and self._found:
                self._left += len(self._found.popitem(last=False)[1])
        return made


@dataclass(frozen=True)
class Service:
    """The open store and what else a route needs, one for the application's life."""

    store: Store
    db: str
    limits: Limits
    bounded: Bounded
    kept: Kept = field(default_factory=Kept)


def service(request: Request) -> Service:
    """Returns the application's service."""
    found: Service = request.app.state.service
    return found


Opened = Annotated[Service, Depends(service)]
StudyPath = Annotated[
    str,
    Path(alias="study", description="Id, beginning of the id, or name.", max_length=200, pattern=READABLE, examples=["s-7f3a9c21"]),
]
StudyId = Annotated[str, Path(alias="study", description="The whole id.", max_length=32, pattern=READABLE, examples=["s-7f3a9c21"])]


def answer(document: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Returns a document as JSON, its keys in the document's order."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return Response(text, status, headers=dict(headers or {}), media_type="application/json")


def cursor_of(moment: datetime, study_id: str) -> str:
    """Returns the cursor of the page after a study."""
    return base64.urlsafe_b64encode(f"{moment.isoformat()} {study_id}".encode()).decode().rstrip("=")


def after_of(cursor: str | None) -> tuple[datetime, str] | None:
    """Returns the place that a cursor stands for; raises InputError for one that no page gave."""
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        moment, study_id = text.split(" ")
        found = datetime.fromisoformat(moment)
        if found.tzinfo is None or not study_id.isprintable() or len(study_id) > 32:
            raise ValueError
    except (binascii.Error, ValueError):
        raise InputError("cursor", cursor, "the next_cursor of the page before") from None
    return found, study_id
