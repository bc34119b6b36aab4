"""A command, checked against the options that the engine's own parser has."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from simulator.errors import MISSING, InputError

TABLES = Path(__file__).parent / "tables"
# Of an option: "flag" (no value), "int", "float", "text", "texts" (any number), {"json": keys or null}, or a list of choices.
Kind = str | list[str] | dict[str, list[str] | None]
YES = ("flag",)


@dataclass(frozen=True)
class Table:
    """The options of one version of a program."""

    program: str
    version: str
    source: str
    options: Mapping[str, Kind]

    def __str__(self) -> str:
        """Returns what it is, for a sentence."""
        return f"the {len(self.options)} options of {self.program} {self.version}"


@cache
def table(name: str) -> Table:
    """Returns a table by the name of its file; raises InputError where there is none."""
    path = TABLES / f"{name}.json"
    if not path.is_file():
        raise InputError("engine", name, ", ".join(sorted(each.stem for each in TABLES.glob("*.json"))))
    return Table(**json.loads(path.read_text(encoding="utf-8")))


def check(found: Table, arguments: Sequence[str]) -> int:
    """Returns how many options the arguments have, from the first flag on.

    Raises InputError for one that the program does not have, and for a value that it would not take.
    """
    count = 0
    for flag, values in _given(arguments):
        count += 1
        kind = found.options.get(flag)
        if kind is None:
            near = ", ".join(get_close_matches(flag, found.options)) or "none like it"
            raise InputError(flag, " ".join(values) or "given", f"an option of {found.program} {found.version} ({near})")
        _check_values(flag, kind, values)
    return count


def _given(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    flag, values = None, list[str]()
    for part in arguments:
        if part.startswith("--"):
            if flag is not None:
                yield flag, values
            flag, _, value = part.partition("=")
            values = [value] if value else []
        elif flag is not None:
            values.append(part)
    if flag is not None:
        yield flag, values


def _check_values(flag: str, kind: Kind, values: Sequence[str]) -> None:
    if kind == "texts":
        return
    if kind == "flag":
        if values:
            raise InputError(flag, " ".join(values), "no value")
        return
    if len(values) != 1:
        raise InputError(flag, " ".join(values) or MISSING, "one value")
    [value] = values
    if isinstance(kind, list):
        if value not in kind:
            raise InputError(flag, value, ", ".join(kind))
    elif isinstance(kind, dict):
        _check_json(flag, value, kind["json"])
    elif kind in ("int", "float"):
        try:
            int(value) if kind == "int" else float(value)
        except ValueError:
            raise InputError(flag, value, "an integer" if kind == "int" else "a number") from None


def _check_json(flag: str, value: str, keys: Sequence[str] | None) -> None:
    try:
        found: Any = json.loads(value)
    except json.JSONDecodeError as error:
        raise InputError(flag, value, f"JSON ({error})") from None
    if not isinstance(found, dict):
        raise InputError(flag, value, "a JSON object")
    for key in found:
        if keys is not None and key not in keys:
            raise InputError(f"{flag}.{key}", found[key], ", ".join(keys))
