"""Everything that Trimtab raises on purpose.

TrimtabError
├── InputError    the request is wrong: names the field, the value and what is allowed (exit status 2, HTTP 422)
├── Infeasible    the request is right and the answer is "no" (exit status 1)
├── Unmeasured    a real server could not be measured, or not well enough to report it (exit status 1)
├── OverQuota     an API key has all the studies under way that it may have (HTTP 429)
└── StoreError    the store could not be written or read: full disk, lock; what was stored before is kept (HTTP 503)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from enum import Enum


class Absent(Enum):
    """What stands for the value of a field that was not given, where None would be one that was."""

    MISSING = "missing"


MISSING = Absent.MISSING


class TrimtabError(Exception):
    """The root of every error that is meant for a person."""


class InputError(TrimtabError, ValueError):
    """Wrong input, told in one line: `field: value is not allowed; allowed: ...`, or `field: missing; allowed: ...`."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.field = field
        self.value = value
        self.allowed = allowed
        told = "missing" if value is MISSING else f"{_shown(value)} is not allowed"
        super().__init__(f"{field}: {told}; allowed: {allowed}")

    def __reduce__(self) -> tuple[type[InputError], tuple[str, object, str]]:
        return InputError, (self.field, self.value, self.allowed)


class Infeasible(TrimtabError):
    """A deployment or a search that has no answer, with the reason in one line."""


class Unmeasured(TrimtabError):
    """A measurement of a real server that failed or may not be reported, with the reason in one line."""


class OverQuota(TrimtabError):
    """A submit by an API key that has as many studies under way as it may have."""


class StoreError(TrimtabError):
    """A read or write of the store that failed, with the reason in one line; `passing` where the same may succeed later."""

    passing = False


def unknown_name(field: str, value: object, choices: Iterable[str]) -> InputError:
    """Returns the error for a name that is not among `choices`, which it lists, the nearest first."""
    known = sorted(choices)
    near = get_close_matches(str(value), known, n=3, cutoff=0.6)
    ordered = near + [name for name in known if name not in near]
    return InputError(field, value, ", ".join(ordered) if ordered else "nothing yet")


def _shown(value: object, limit: int = 120) -> str:
    text = " ".join(repr(_as_typed(value)).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _as_typed(value: object) -> object:
    """Returns a value as whoever wrote YAML or JSON knows it: there are lists, but no tuples."""
    if isinstance(value, tuple | list):
        return [_as_typed(each) for each in value]
    return {name: _as_typed(each) for name, each in value.items()} if isinstance(value, Mapping) else value
