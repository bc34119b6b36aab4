"""What a request from outside may say: names and uploads, never a path, a URL or text that no store can keep.

The command line reads files for whoever runs it; a service must not, so that what a request names is looked at before
anything of it is parsed, since parsing a trace, a price book or a profile opens it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from simulator import catalog
from simulator.errors import InputError, unknown_name

UPLOADED = re.compile(r"sha256:[0-9a-f]{64}")
A_PATH = re.compile(r"^[/~]|^\.{1,2}([/\\]|$)|[/\\]\.\.([/\\]|$)|\\|^[A-Za-z][A-Za-z0-9+.-]*:")
UNKEPT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
# Free text: it is shown and never opened.
TEXT = frozenset({"name"})
MOST_DEPTH, MOST_TEXT, LARGEST = 32, 10_000, 2**63 - 1


def check(data: Mapping[str, Any]) -> None:
    """Raises InputError for a path, a URL or a value that cannot be stored in a request, a scenario or a plan from outside."""
    for field, value in walk(data):
        if isinstance(value, str):
            check_text(value, field)
            if field not in TEXT and not UPLOADED.fullmatch(value) and A_PATH.search(value):
                raise InputError(field, value, "a name; a request from outside may hold no path and no URL")
        elif isinstance(value, int) and abs(value) > LARGEST:
            raise InputError(field, value, f"a whole number of at most {LARGEST}")
    _check_trace(data, "trace")
    _check_trace(data.get("workload"), "workload.trace")
    _check_trace(data.get("demand"), "demand.trace")
    if isinstance(prices := data.get("prices"), str) and prices not in catalog.names("prices"):
        raise unknown_name("prices", prices, catalog.names("prices"))
    for place, profile in enumerate(_listed(data.get("profiles"))):
        _check_profile(profile, f"profiles.{place}")


def check_text(text: str, field: str) -> None:
    """Raises InputError for text that is too long or has characters that stores or terminals cannot keep."""
    if len(text) > MOST_TEXT:
        raise InputError(field, text, f"at most {MOST_TEXT:,} characters")
    if UNKEPT.search(text):
        raise InputError(field, text.encode("utf-8", "replace").decode(), "text without control characters or lone surrogates")


def walk(value: object, field: str = "", depth: int = 0) -> Iterator[tuple[str, object]]:
    """Yields every value under its path, keys of mappings as values too; raises InputError for data nested too deeply."""
    if depth > MOST_DEPTH:
        raise InputError(field.partition(".")[0], "nested data", f"at most {MOST_DEPTH} levels")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            where = f"{field}.{key}".lstrip(".")
            # A key is a name too: of a class, of a knob.
            yield f"{where} (name)", str(key)
            yield from walk(inner, where, depth + 1)
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from walk(inner, f"{field}.{place}", depth + 1)
    else:
        yield field, value


def _check_trace(told: object, field: str) -> None:
    trace = told.get("trace") if isinstance(told, Mapping) else None
    if isinstance(trace, str) and not UPLOADED.fullmatch(trace):
        raise InputError(field, trace, "sha256: and the 64 hexadecimal digits of an uploaded trace")


def _check_profile(profile: object, field: str) -> None:
    if not isinstance(profile, Mapping):
        return
    if "path" in profile:
        raise InputError(f"{field}.path", profile["path"], "a source that needs no path: profiles are named")
    for name, value in profile.items():
        if isinstance(value, str) and re.search(r"[/\\]|^\.", value):
            raise InputError(f"{field}.{name}", value, "a name; a request from outside may hold no path and no URL")


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []
