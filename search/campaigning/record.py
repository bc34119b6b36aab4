"""What has become of each item of a campaign: `campaign.json` in its folder, replaced whole at every change."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from search.campaigning.plan import Item, Part, Plan
from simulator.errors import Infeasible, InputError

FILE = "campaign.json"
# An item in which so many calls ended or were cut off is failed, so that the others get their turn.
MOST_CUT = 3
State = Literal["waiting", "running", "left", "done", "failed"]


@dataclass
class Entry:
    """One item: its state, the calls that it was begun in and cut off in, its seconds in all, and why it failed.

    `running` of a campaign that does not run is an item in which the machine went away; `left` has begun and is gone on with.
    """

    command: str
    state: State = "waiting"
    calls: int = 0
    cut: int = 0
    spent_s: float = 0.0
    kind: str | None = None
    reason: str | None = None
    faults: int = 0
    changed_at: str | None = None


@dataclass
class Record:
    """The folder of a campaign, its plan, and the entries by item."""

    out: Path
    plan: Plan
    entries: dict[str, Entry] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where the record lies."""
        return self.out / FILE

    def entry(self, item: Item) -> Entry:
        """Returns the entry of an item: a new one where its command has changed since."""
        found = self.entries.get(item.name)
        if found is None or found.command != item.command:
            found = self.entries[item.name] = Entry(item.command)
        return found

    def change(self, item: Item, **fields: Any) -> Entry:
        """Changes an entry and writes the record."""
        entry = self.entry(item)
        for name, value in fields.items():
            setattr(entry, name, value)
        entry.changed_at = datetime.now(UTC).isoformat(timespec="seconds")
        self.write()
        return entry

    def write(self) -> None:
        """Writes the record, whole or not at all."""
        document = {
            "campaign": self.plan.name,
            "device": self.plan.device,
            "parts": {part.name: self.state_of(part) for part in self.plan.parts},
            "items": {name: asdict(entry) for name, entry in self.entries.items()},
        }
        replace(self.path, json.dumps(document, indent=2) + "\n")

    def state_of(self, part: Part) -> str:
        """Returns `waiting`, `left`, `done`, or `failed`: all is over, and an item has failed."""
        states = {self.entry(item).state for item in part.items}
        if states == {"waiting"}:
            return "waiting"
        if states <= {"done", "failed"}:
            return "failed" if "failed" in states else "done"
        return "left"


def opened(out: Path, plan: Plan) -> Record:
    """Returns the record in a folder, a new one where there is none; raises InputError for another campaign's folder."""
    record = Record(out, plan)
    told = read(out)
    if told is None:
        return record
    if (told["campaign"], told["device"]) != (plan.name, plan.device):
        raise InputError("--out", str(out), f"a folder of the campaign {plan.name} on {plan.device}; this one is of "
                         f"{told['campaign']} on {told['device']}")  # fmt: skip
    record.entries = {name: Entry(**entry) for name, entry in told["items"].items()}
    return record


def read(out: Path) -> Mapping[str, Any] | None:
    """Returns the document in a folder, None where there is none; raises InputError for a file that is not one."""
    path = out / FILE
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        Record(out, Plan("", "", 0.0, 0.0, (), {}), {name: Entry(**entry) for name, entry in told["items"].items()})
        return {**told, "campaign": str(told["campaign"]), "device": str(told["device"])}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError("--out", str(out), f"a folder that can be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError("--out", str(out), f"a folder whose {FILE} `trimtab campaign run` wrote") from None


def replace(path: Path, text: str) -> None:
    """Writes a file, whole or not at all, so that it outlives the machine's end."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Holds the folder; raises InputError where it cannot be written, Infeasible while another process runs its campaign."""
    import fcntl

    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / ".lock").open("w", encoding="utf-8")
    except OSError as error:
        raise InputError("--out", str(out), f"a folder that can be written ({error.strerror})") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Infeasible(f"another process runs the campaign in {out}") from None
        yield
