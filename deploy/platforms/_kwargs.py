"""A command line of vLLM as the keyword arguments of its engine, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def from_flags(flags: Sequence[str]) -> dict[str, Any]:
    """Returns the arguments that flags state: true and false of `--x` and `--no-x`, numbers, objects of JSON, and words."""
    found = dict[str, Any]()
    flag: str | None = None
    for part in flags:
        if part.startswith("--"):
            flag = part[2:].replace("-", "_")
            off = flag.startswith("no_")
            flag = flag.removeprefix("no_")
            found[flag] = not off
        elif flag is not None:
            found[flag], flag = _typed(part), None
    return found


def to_flags(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the flags that state these arguments."""
    parts = list[str]()
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            parts.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            parts += [f"--{flag}", json.dumps(value) if isinstance(value, dict) else str(value)]
    return tuple(parts)


def _typed(text: str) -> Any:
    """Returns a number or an object where the text is that and would be written so again, else the text."""
    if text.startswith("{"):
        return json.loads(text)
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return value if str(value) == text else text
    return text
