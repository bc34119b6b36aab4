"""A command of `trimtab` as a process of its own: what it answers in one file, what it tells in another, a limit, and no rest."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from profiler.load.engines._log import fault_of, tail
from profiler.load.engines._process import Process

# Its standard output is a file, its standard error the log. This Python's `trimtab`, not the one on the PATH.
_ENTRY = "import sys; sys.stdout = open(sys.argv.pop(1), 'w', encoding='utf-8'); from search.cli import entry; entry()"
GRACE_S = 15.0
LOOK_S = 0.5
# What a command tells a person in one line ends with these.
TOLD = {1: "answered_no", 2: "wrong_input"}
TOLD_CHARACTERS = 300


@dataclass(frozen=True)
class Ended:
    """How a command ended: done, or with a kind and one line; `overdue` where it was ended for the limit; its document."""

    document: dict[str, Any] | None
    seconds: float
    kind: str | None = None
    reason: str | None = None
    overdue: bool = False


def run(argv: Sequence[str], answer: Path, log: Path, environment: Mapping[str, str], limit_s: float) -> Ended:
    """Returns how `trimtab ARGV` ended; its JSON document is put at `answer`, whole or not at all, what else it says in `log`.

    It and all that it started are gone when this returns, and soon after this process is gone, however that ends.
    """
    part = answer.with_name(f".{answer.name}.part")
    command = [sys.executable, "-c", _ENTRY, str(part), *argv]
    began = monotonic()
    with Process(command, log, environment, GRACE_S) as process:
        status = None
        while status is None and monotonic() - began < limit_s:
            # Short waits: a signal's handler runs between them.
            status = process.status(LOOK_S)
    seconds = monotonic() - began
    document = _kept(part, answer)
    if status is None:
        return Ended(document, seconds, "overdue", f"it was ended after {seconds:.0f} s", overdue=True)
    if status == 0:
        return Ended(document, seconds)
    fault = fault_of(f"the command ended with status {status}", log)
    if status in TOLD:
        return Ended(document, seconds, TOLD[status] if fault.kind == "died" else fault.kind, _last_line(log) or fault.reason)
    return Ended(document, seconds, fault.kind, fault.reason)


def _last_line(log: Path) -> str:
    """Returns how a log's last line begins: what a command tells a person begins with what matters."""
    line = next((line.strip() for line in reversed(tail(log).splitlines()) if line.strip()), "")
    return line if len(line) <= TOLD_CHARACTERS else f"{line[:TOLD_CHARACTERS]}..."


def _kept(part: Path, answer: Path) -> dict[str, Any] | None:
    """Returns the document that a command has written, now at its place; None where it is none."""
    try:
        text = part.read_text(encoding="utf-8")
        found = json.loads(text)
    except (OSError, ValueError):
        found = None
    if isinstance(found, dict):
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(answer)
        return found
    with contextlib.suppress(OSError):
        part.unlink()
    return None
