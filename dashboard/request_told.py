"""What can be told of a request while it is written: what is wrong, at which field; how large its space is, how long it takes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from dashboard.request_form import FIELDS, LENGTHS, PLAIN
from dashboard.words import count, number
from search import inward
from search.driver import MOST_FINALISTS
from search.request import SearchRequest
from search.running import FINALIST_S, TRIAL_S
from simulator import catalog
from simulator.errors import MISSING, InputError
from simulator.spec.base import every_error
from simulator.spec.prices import PriceBook
from simulator.spec.slo import LATENCIES
from simulator.spec.workload import Workload

# Looking at so many combinations takes a fifth of a second or less.
MOST_WALKED = 1500
ELSEWHERE = ""
_PARTS = {
    "workload.preset": "preset",
    "workload.trace": "trace",
    "workload.prompt_tokens": "prompt.median",
    "workload.output_tokens": "output.median",
    "workload": "traffic",
    "demand": "rate",
    "objectives": "objectives",
    **{".".join(path): name for name, path in PLAIN.items()},
    **{f"slo.{latency}": f"slo.{latency}" for latency in LATENCIES},
    "slo": "slo.ttft",
}


@dataclass(frozen=True)
class Checked:
    """A document looked at: the request that it is, or what is wrong by field; under ELSEWHERE what no field shows."""

    request: SearchRequest | None
    wrong: Mapping[str, str]


def checked(document: Mapping[str, Any]) -> Checked:
    """Returns the request of a document, or the first complaint of each field that shows what is wrong."""
    try:
        inward.check(document)
        request = SearchRequest.model_validate(dict(document))
        if request.workload.preset is not None:
            catalog.preset(request.workload.preset)
        return Checked(request, {})
    except ValidationError as error:
        found = every_error(error, SearchRequest)
    except InputError as error:
        found = [error]
    told = by_field((each.field, each.value, each.allowed) for each in found)
    unsaid = _unsaid(document)
    return Checked(None, {**{name: line for name, line in told.items() if not (unsaid and name == "traffic")}, **unsaid})


def _unsaid(document: Mapping[str, Any]) -> dict[str, str]:
    """Returns what is still to be chosen of the traffic, by field."""
    work = document.get("workload")
    if not isinstance(work, Mapping):
        return {}
    choose = {"trace": ("trace", "Upload a trace, or choose one."), "preset": ("preset", "Choose a preset.")}
    choose |= {f"{kind}_tokens": (f"{kind}.median", "A number of tokens is missing.") for kind in LENGTHS}
    return {name: line for key, (name, line) in choose.items() if key in work and work[key] is None and not _given(work, key)}


def _given(work: Mapping[str, Any], key: str) -> bool:
    """Returns whether a field of the traffic that is None is not needed, since another one says where it comes from."""
    origins = ("trace", "preset", "prompt_tokens", "output_tokens")
    pair = {"prompt_tokens": "output_tokens", "output_tokens": "prompt_tokens"}.get(key)
    return any(work.get(each) is not None for each in origins if each not in (key, pair))


def by_field(errors: Iterable[tuple[str, object, str]]) -> dict[str, str]:
    """Returns the first complaint of each field; errors are path, value and what is allowed."""
    told: dict[str, str] = {}
    for path, value, allowed in errors:
        name = field_of(path)
        line = str(InputError(path, value, allowed))
        # At its field a complaint need not name it, unless it lies within.
        short = line.removeprefix(f"{path}: ") if name != ELSEWHERE and _exact(path, name) else line
        told.setdefault(name, short[:1].upper() + short[1:] if short != line and value is MISSING else short)
    return told


def _exact(path: str, name: str) -> bool:
    return path in (name.replace("knob.", "space."), ".".join(PLAIN.get(name, ()))) or path.startswith("slo.")


def field_of(path: str) -> str:
    """Returns the form's field that shows what lies at a path of a request; ELSEWHERE where none does."""
    plain = re.sub(r" \(.*\)$", "", path)
    parts = plain.split(".")
    if parts[0] == "space" and len(parts) > 1:
        return f"knob.{parts[1]}" if f"knob.{parts[1]}" in FIELDS else ELSEWHERE
    if parts[0] == "slo" and len(parts) == 2:
        return _PARTS.get(f"slo.{parts[1].split('_')[0]}", "slo.ttft")
    for length in range(len(parts), 0, -1):
        found = _PARTS.get(".".join(parts[:length]))
        if found is not None:
            return found
    return ELSEWHERE


def workload_of(document: Mapping[str, Any]) -> Workload | None:
    """Returns the workload of a document that need not be right as a whole; None where the workload is not right itself."""
    work = document.get("workload")
    if not isinstance(work, Mapping):
        return None
    try:
        inward.check({"workload": dict(work)})
        return Workload.parse(work, "workload")
    except InputError:
        return None


@dataclass(frozen=True)
class Size:
    """How many combinations a space has, how many of them are legal (None: too many to look at), and CPU seconds of the study."""

    combinations: int
    legal: int | None
    trials: int
    cpu_s: float


def size_of(request: SearchRequest) -> Size:
    """Returns the size of the request's space and what its trials take, by what one took in the project's benchmarks."""
    space = request.build_space()
    legal = sum(1 for _ in space.walk()) if space.size <= MOST_WALKED else None
    trials = min(space.size if legal is None else legal, request.budget.trials)
    return Size(space.size, legal, trials, trials * TRIAL_S + min(trials, MOST_FINALISTS) * FINALIST_S)


def cores() -> int:
    """Returns the cores of this machine that a study may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def sentences(size: Size, at_once: int) -> tuple[str, str]:
    """Returns the size of the space and the expected time, a line each."""
    combinations = count(size.combinations, "combination")
    if size.legal is None:
        first = f"Up to {combinations}; which of them are legal is found while searching"
    else:
        first = f"{count(size.legal, 'deployment')}" + (
            f" of {combinations}, the others not legal" if size.legal < size.combinations else ""
        )
    if size.trials < (size.combinations if size.legal is None else size.legal):
        first += f"; the budget tries {size.trials:,} of them"
    told = f"About {duration(size.cpu_s / at_once)} on {count(at_once, 'core')}"
    return first, told if size.trials else "Nothing to run"


def duration(seconds: float) -> str:
    """Returns a time to wait in the unit in which people say it."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{number(seconds / size, 2)} {unit}"
    return f"{max(round(seconds), 1)} s"


def rents(book: PriceBook) -> dict[str, float]:
    """Returns the least dollars an hour and GPU of every device that a book sells, on its term."""
    found: dict[str, float] = {}
    for each in book.instances:
        price = each.usd_per_hour(book.term)
        if price is not None:
            found[each.device] = min(found.get(each.device, price / each.gpus), price / each.gpus)
    return found
