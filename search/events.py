"""Progress of a study as events in the store, where whoever follows it finds them: about one a second."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from db import events
from db.session import Store
from search.progress import Progress
from simulator.errors import StoreError

SECONDS_BETWEEN = 1.0
log = logging.getLogger("trimtab.worker")


class Teller:
    """Stores what it is called with as events: the first of each phase, every sentence once, and then one a second at most."""

    def __init__(self, store: Store, study_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._study_id, self._clock = store, study_id, clock
        self._sentences: set[str] = set()
        self._phase: str | None = None
        self._told_at = -SECONDS_BETWEEN

    def __call__(self, progress: Progress) -> None:
        """Stores the progress, or lets it pass when another was stored just now; raises LeaseLost."""
        if progress.sentence and progress.sentence not in self._sentences:
            self._sentences.add(progress.sentence)
            self._tell("note", {"sentence": progress.sentence})
        if not progress.total:
            return
        now = self._clock()
        if progress.phase != self._phase or now - self._told_at >= SECONDS_BETWEEN or progress.done == progress.total:
            self._phase, self._told_at = progress.phase, now
            self._tell("progress", {name: value for name, value in asdict(progress).items() if name != "sentence"})

    def _tell(self, kind: str, document: dict[str, Any]) -> None:
        try:
            events.append(self._store, self._study_id, kind, document)
        except StoreError as error:
            # Nothing depends on an event, so it is not tried again.
            if not error.passing:
                raise
            log.warning("an event of %s is not stored: %s", self._study_id, error)
        fields = {"study": self._study_id, "kind": kind, **document}
        log.info("study %s: %s", self._study_id, document.get("sentence") or _line(document), extra=fields)


def _line(document: dict[str, Any]) -> str:
    return f"{document['phase']}: {document['done']:,} of {document['total']:,} trials"
