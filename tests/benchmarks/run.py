"""Measures speed on this machine and writes build/bench.json: `python -m tests.benchmarks.run`, about ten minutes.

Names after the command measure those parts alone: speed, features, shell, vidur, fidelity, study, service, pages.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from simulator.cli import warm_up
from tests.benchmarks import features, fidelity, pages, service, shell, speed, study, vidur_speed
from tests.benchmarks.entry import Entry, load_average, machine

PARTS: dict[str, Callable[[], Iterator[Entry]]] = {
    "speed": speed.entries,
    "features": features.entries,
    "shell": shell.entries,
    "vidur": vidur_speed.entries,
    "fidelity": fidelity.entries,
    "study": study.entries,
    "service": service.entries,
    "pages": pages.entries,
}
OUT = Path("build/bench.json")


def main() -> None:
    """Measures the parts that were named, all by default; prints a table and writes the file."""
    unknown = [name for name in sys.argv[1:] if name not in PARTS]
    if unknown:
        sys.exit(f"part: {unknown[0]!r} is not allowed; allowed: {', '.join(PARTS)}")
    warm_up()
    before = load_average()
    found = []
    for name in sys.argv[1:] or PARTS:
        for entry in PARTS[name]():
            print(f"{entry.name}: {shown(entry)} {entry.unit}", file=sys.stderr, flush=True)
            found.append(entry)
    found.append(machine(before))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps([entry.document() for entry in found], indent=2) + "\n", encoding="utf-8")
    show(found)


def show(entries: list[Entry]) -> None:
    """Prints the numbers as a table, the machine below it."""
    table = Table("benchmark", "unit", box=None, pad_edge=False)
    table.add_column("value", justify="right")
    for entry in entries[:-1]:
        table.add_row(entry.name, entry.unit, shown(entry))
    console = Console(width=110)
    console.print(table)
    console.print(str(entries[-1].value), highlight=False)


def shown(entry: Entry) -> str:
    """Returns the value with as many digits as it is worth."""
    if isinstance(entry.value, str):
        return entry.value
    return f"{entry.value:,.0f}" if abs(entry.value) >= 100 else f"{entry.value:.3g}"


if __name__ == "__main__":
    main()
