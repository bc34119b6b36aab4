"""Slo: bounds on percentiles of the four latencies, and the limits that one request must keep."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from simulator.errors import InputError, unknown_name

LATENCIES = ("ttft", "tpot", "itl", "e2e")
STATISTICS = ("mean", "p50", "p90", "p95", "p99")
REQUEST_LIMITS = ("ttft_s", "tpot_s", "itl_max_s", "e2e_s")
TERMS = tuple(f"{latency}_{statistic}_s" for latency in LATENCIES for statistic in STATISTICS)


@dataclass(frozen=True)
class Bound:
    """One term of an Slo: the statistic of a latency stays at or under `limit_s`."""

    term: str
    limit_s: float

    @property
    def metric(self) -> str:
        """The name in Metrics: `ttft_s`, `tpot_s`, `itl_s` or `e2e_s`."""
        return self.term.split("_")[0] + "_s"

    @property
    def statistic(self) -> str:
        """The field of that metric: `mean`, `p50`, `p90`, `p95` or `p99`."""
        return self.term.split("_")[1]


class Slo(Mapping[str, float]):
    """A service level objective: `{ttft_p99_s: 2.0, itl_p99_s: 0.2}`, immutable."""

    def __init__(self, limits: Mapping[str, float]) -> None:
        self._limits = dict(limits)

    @classmethod
    def parse(cls, data: object, field: str = "slo") -> Self:
        """Returns the Slo in `data`; raises InputError for an unknown term or a bound that is not a positive number."""
        if not isinstance(data, Mapping) or not data:
            raise InputError(field, data, f"a mapping with at least one of {', '.join(TERMS)}")
        for name, limit in data.items():
            if name not in TERMS and name not in REQUEST_LIMITS:
                raise _unknown_term(field, str(name), limit)
            if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < float("inf"):
                raise InputError(f"{field}.{name}".lstrip("."), limit, "a positive number of seconds")
        if not any(name in TERMS for name in data):
            raise InputError(field, dict(data), f"at least one percentile bound: {', '.join(TERMS)}")
        return cls({str(name): float(limit) for name, limit in sorted(data.items())})

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """The percentile bounds, by name."""
        return tuple(Bound(name, limit) for name, limit in self._limits.items() if name in TERMS)

    def request_limit(self, name: str) -> float | None:
        """Returns what one request may take (`ttft_s`, ...): the stated limit, else the loosest bound on that latency."""
        if name in self._limits:
            return self._limits[name]
        latency = name.split("_")[0]
        return max((b.limit_s for b in self.bounds if b.term.startswith(latency + "_")), default=None)

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


def _unknown_term(field: str, name: str, limit: object) -> InputError:
    if re.sub(r"_(ms|us)$", "_s", name) in (*TERMS, *REQUEST_LIMITS):
        return InputError(f"{field}.{name}".lstrip("."), limit, f"seconds, as {re.sub(r'_(ms|us)$', '_s', name)}")
    return unknown_name(f"{field}.{name} (unknown term)".lstrip("."), limit, (*TERMS, *REQUEST_LIMITS))
