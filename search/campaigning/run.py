"""One call of a campaign: items in order, each a process of its own, begun while there is time, recorded as they end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

from search.campaigning.plan import Item, Part
from search.campaigning.record import MOST_CUT, Entry, Record

# Calls in which an item was gone on with; one that is not over then will not be.
MOST_CALLS = 10
# What is left of a call's limit beyond its budget, for what was begun in time.
BEYOND_S = 20.0
# An item that was ended for the limit after nearly a whole call does not fit into one.
WHOLE = 0.8
# Nothing is measured in less.
LEAST_BUDGET_S = 1.0


@dataclass
class Ran:
    """The items that were done, that failed, and that are left: not begun for want of time, or to be gone on with."""

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


@dataclass
class Call:
    """A call of so many seconds on a campaign; `again` tries anew what failed or has faults."""

    record: Record
    parts: Sequence[Part]
    budget_s: float
    again: bool = False

    def run(self) -> Ran:
        """Returns what came of the parts' items; on an interruption the one that runs is ended and stays to be gone on with."""
        self._began, ran, stopped = monotonic(), Ran(), False
        with _terminated_as_interrupted():
            for item in [item for part in self.parts for item in part.items]:
                if self._is_over(item) and not (item.anew and (ran.done or ran.failed)):
                    continue
                stopped = stopped or self._left_s < min(item.seconds, self.budget_s - LEAST_BUDGET_S)
                if stopped:
                    ran.left.append(item.name)
                    continue
                state = self._item(item).state
                {"done": ran.done, "failed": ran.failed}.get(state, ran.left).append(item.name)
                # What is left was cut for time: nothing that builds on it is begun.
                stopped = state == "left"
        return ran

    @property
    def _left_s(self) -> float:
        return self.budget_s - (monotonic() - self._began)

    def _is_over(self, item: Item) -> bool:
        """Returns whether nothing is to be done for an item; counts calls that went away in it."""
        entry = self.record.entry(item)
        if entry.state == "running":
            self._cut(item, "vanished", "the machine, or the process of the campaign, went away in it")
        if self.again and (entry.state == "failed" or entry.faults):
            entry.state, entry.calls, entry.cut, entry.spent_s = "waiting", 0, 0, 0.0
        return entry.state in ("done", "failed")

    def _item(self, item: Item) -> Entry:
        """Runs an item once."""
        from profiler import command

        record, out = self.record, self.record.out
        entry = record.entry(item)
        again = self.again
        entry = record.change(item, state="running", calls=entry.calls + 1, kind=None, reason=None)
        answer, log = out / "results" / f"{item.name}.json", out / "logs" / f"{item.name}-{entry.calls}.log"
        for folder in (answer.parent, log.parent, out / "validations"):
            folder.mkdir(parents=True, exist_ok=True)
        budget_s, had_s = self._budget(item, entry), self._left_s
        told = {"device": record.plan.device, "out": str(out), "budget": f"{budget_s:.1f}", "again": "--again" if again else ""}
        print(f"{item.name} ...", file=sys.stderr, flush=True)
        try:
            ended = command.run(item.arguments(told), answer, log, {"TRIMTAB_PROFILES": str(out / "profiles")}, had_s + BEYOND_S)
        except KeyboardInterrupt:
            record.change(item, state="left", reason="interrupted")
            raise
        entry = record.change(item, spent_s=entry.spent_s + ended.seconds)
        if ended.overdue:
            self._cut(item, "overdue", ended.reason or "", at_once=had_s >= WHOLE * self.budget_s)
        elif ended.reason is not None:
            record.change(item, state="failed", kind=ended.kind, reason=ended.reason)
        elif ended.document is None and item.answers:
            record.change(item, state="failed", kind="malformed", reason="it answered with no JSON document")
        else:
            self._answered(item, ended.document or {})
        self._tell(item, entry)
        return entry

    def _budget(self, item: Item, entry: Entry) -> float:
        """Returns the seconds that a command may begin work in."""
        budget_s = self._left_s - self.record.plan.start_s
        if item.at_most_s is not None:
            budget_s = min(budget_s, item.at_most_s - entry.spent_s)
        return max(budget_s, LEAST_BUDGET_S)

    def _answered(self, item: Item, document: dict[str, object]) -> None:
        """Records what a command that ended well says of itself."""
        items = document.get("items")
        faults = sum(bool(each.get("fault")) for each in items if isinstance(each, dict)) if isinstance(items, list) else 0
        entry = self.record.entry(item)
        enough = item.at_most_s is not None and entry.spent_s >= item.at_most_s - self.record.plan.start_s
        if document.get("finished") is not False or enough:
            self.record.change(item, state="done", faults=faults)
        elif entry.calls >= MOST_CALLS:
            self.record.change(item, state="failed", kind="overdue", reason=f"it was not over after {entry.calls} calls")
        else:
            self.record.change(item, state="left", faults=faults)

    def _cut(self, item: Item, kind: str, reason: str, at_once: bool = False) -> None:
        """Records a call that ended in the middle of an item: it is gone on with, unless that has happened too often."""
        cut = self.record.entry(item).cut + 1
        failed = at_once or cut >= MOST_CUT
        times = f" ({cut} times)" if cut > 1 else ""
        self.record.change(item, cut=cut, kind=kind, reason=f"{reason}{times}", state="failed" if failed else "left")

    def _tell(self, item: Item, entry: Entry) -> None:
        why = f": {entry.reason}" if entry.reason else f", {entry.faults} runs with faults" if entry.faults else ""
        print(f"{item.name} {entry.state} after {entry.spent_s:.0f} s{why}", file=sys.stderr, flush=True)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Has SIGTERM end what runs as Ctrl-C does: whoever limits a call's time sends it."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        # Not the main thread: whoever calls has signals of his own.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
