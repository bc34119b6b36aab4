"""Slo: bounds on percentiles of the four latencies, and the limits that one request must keep, for all or for one class."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from simulator.errors import InputError, unknown_name

LATENCIES = ("ttft", "tpot", "itl", "e2e")
STATISTICS = ("mean", "p50", "p90", "p95", "p99")
REQUEST_LIMITS = ("ttft_s", "tpot_s", "itl_max_s", "e2e_s")
TERMS = tuple(f"{latency}_{statistic}_s" for latency in LATENCIES for statistic in STATISTICS)
OF_CLASS = "."


@dataclass(frozen=True)
class Bound:
    """One term of an Slo: the statistic of a latency stays at or under `limit_s`.

    It holds for the requests of `class_name`; None: for those of every class that the Slo does not name.
    """

    term: str
    limit_s: float
    class_name: str | None = None

    @property
    def name(self) -> str:
        """The key in the Slo: the term, and before it `class.` where the bound is of one class."""
        return self.term if self.class_name is None else f"{self.class_name}{OF_CLASS}{self.term}"

    @property
    def metric(self) -> str:
        """The name in Metrics: `ttft_s`, `tpot_s`, `itl_s` or `e2e_s`."""
        return self.term.split("_")[0] + "_s"

    @property
    def statistic(self) -> str:
        """The field of that metric: `mean`, `p50`, `p90`, `p95` or `p99`."""
        return self.term.split("_")[1]


class Slo(Mapping[str, float]):
    """A service level objective: `{ttft_p99_s: 2.0, itl_p99_s: 0.2}`, immutable.

    A class has bounds of its own under its name, `{batch: {e2e_p99_s: 60}}` or `{batch.e2e_p99_s: 60}`: they stand in the
    place of the others for its requests. Keys are kept in the second form.
    """

    def __init__(self, limits: Mapping[str, float]) -> None:
        self._limits = dict(limits)

    @classmethod
    def parse(cls, data: object, field: str = "slo") -> Self:
        """Returns the Slo in `data`; raises InputError for an unknown term or a bound that is not a positive number."""
        if not isinstance(data, Mapping) or not data:
            raise InputError(field, data, f"a mapping with at least one of {', '.join(TERMS)}")
        limits: dict[str, float] = {}
        for name, limit in _flat(data, field):
            if (term := name.rpartition(OF_CLASS)[2]) not in TERMS and term not in REQUEST_LIMITS:
                raise _unknown_term(field, name, limit)
            if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < float("inf"):
                raise InputError(f"{field}.{name}".lstrip("."), limit, "a positive number of seconds")
            if name in limits:
                raise InputError(f"{field}.{name}".lstrip("."), limit, "each term once")
            limits[name] = float(limit)
        found = cls(dict(sorted(limits.items())))
        for name in found.class_names or ("",):
            if not any((bound.class_name or "") == name for bound in found.bounds):
                where = f"{field}.{name}".strip(".")
                raise InputError(where, dict(data), f"at least one percentile bound: {', '.join(TERMS)}")
        return found

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """The percentile bounds, by name."""
        split = ((*name.rpartition(OF_CLASS)[::2], limit) for name, limit in self._limits.items())
        return tuple(Bound(term, limit, of or None) for of, term, limit in split if term in TERMS)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that have bounds of their own, by name."""
        return tuple(sorted({name.rpartition(OF_CLASS)[0] for name in self._limits} - {""}))

    def for_class(self, class_name: str) -> Slo:
        """Returns what holds for the requests of one class: its own terms, or those of every class without its own."""
        own = class_name + OF_CLASS if class_name in self.class_names else ""
        return Slo(
            {n.removeprefix(own): limit for n, limit in self._limits.items() if n.rpartition(OF_CLASS)[0] == own.rstrip(".")}
        )

    def with_classes(self, classes: Mapping[str, Slo]) -> Slo:
        """Returns the Slo with those of some classes in it; raises InputError for a class that it bounds already."""
        twice = next((name for name in classes if name in self.class_names), None)
        if twice is not None:
            raise InputError(f"slo.{twice}", dict(self.for_class(twice)), f"none, since workload.classes.{twice} has an slo")
        own = {f"{name}{OF_CLASS}{term}": limit for name, slo in classes.items() for term, limit in slo.items()}
        return Slo(dict(sorted({**self._limits, **own}.items())))

    def request_limit(self, name: str, class_name: str | None = None) -> float | None:
        """Returns what one request of a class may take (`ttft_s`, ...): the stated limit, else the loosest bound on that latency.

        None where nothing limits it.
        """
        slo = self if class_name is None else self.for_class(class_name)
        if name in slo:
            return slo[name]
        latency = name.split("_")[0]
        loosest = [b.limit_s for b in slo.bounds if b.class_name is None and b.term.startswith(latency + "_")]
        return max(loosest, default=None)

    def __getitem__(self, name: str) -> float:
        return self._limits[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._limits)

    def __len__(self) -> int:
        return len(self._limits)

    def __hash__(self) -> int:
        return hash(tuple(self._limits.items()))

    def __repr__(self) -> str:
        return f"Slo({self._limits})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            lambda value: value if isinstance(value, cls) else cls.parse(value, ""),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda slo: dict(slo)),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        seconds = {"type": "number", "exclusiveMinimum": 0}
        bounds = {"type": "object", "properties": dict.fromkeys((*TERMS, *REQUEST_LIMITS), seconds)}
        own = {**bounds, "additionalProperties": False, "minProperties": 1}
        told = "Percentile bounds in seconds; under the name of a class, those of its own."
        return {"title": "Slo", "description": told, **bounds, "additionalProperties": own, "minProperties": 1}


def _flat(data: Mapping[Any, Any], field: str) -> Iterator[tuple[str, Any]]:
    """Yields names and limits, those of a class under `class.`."""
    for name, value in data.items():
        if not isinstance(value, Mapping):
            yield str(name), value
        elif not value:
            raise InputError(f"{field}.{name}".lstrip("."), dict(value), f"at least one of {', '.join(TERMS)}")
        else:
            yield from ((f"{name}{OF_CLASS}{term}", limit) for term, limit in value.items())


def _unknown_term(field: str, name: str, limit: object) -> InputError:
    of, dot, term = name.rpartition(OF_CLASS)
    in_seconds = re.sub(r"_(ms|us)$", "_s", term)
    if in_seconds in TERMS:
        return InputError(f"{field}.{name}".lstrip("."), limit, f"seconds, as {of}{dot}{in_seconds}")
    if in_seconds in REQUEST_LIMITS:
        bound = of + dot + in_seconds.split("_")[0] + "_p99_s"
        allowed = f"seconds, as {bound}; {of}{dot}{in_seconds} beside it is what one request may take"
        return InputError(f"{field}.{name}".lstrip("."), limit, allowed)
    return unknown_name(f"{field}.{name} (unknown term)".lstrip("."), limit, (*TERMS, *REQUEST_LIMITS))
