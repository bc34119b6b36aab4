"""Axis: an objective of a study as figures and tables show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dashboard.words import quantity, spoken
from search import objectives

_SUFFIXES = {"_s": "s", "_rps": "requests per second"}


@dataclass(frozen=True)
class Axis:
    """An objective's name, its title with the unit, which way is better, and the Slo's bound on it, if any."""

    name: str
    title: str
    unit: str
    minimize: bool
    limit: float | None = None

    @property
    def short(self) -> str:
        """The title without the unit in brackets."""
        return self.title.split(" (")[0]

    @property
    def brief(self) -> str:
        """The title where there is little room: `$ per M output tokens`."""
        return self.short.replace("USD", "$").replace("million", "M")

    @property
    def better(self) -> str:
        """Which way is better, in words."""
        return "lower is better" if self.minimize else "higher is better"

    def text(self, value: float | None) -> str:
        """Returns a value of the axis as people read it."""
        return quantity(value, self.unit)


def axis_of(name: str, slo: Mapping[str, Any]) -> Axis:
    """Returns the axis of the objective `name`; raises InputError for one that does not exist."""
    objective = objectives.load(name)
    limit = slo.get(name)
    title = _title(name, objective.unit)
    return Axis(name, title, objective.unit, objective.direction == "minimize", None if limit is None else float(limit))


def _title(name: str, unit: str) -> str:
    for suffix, meaning in _SUFFIXES.items():
        if name.endswith(suffix) and unit == meaning:
            return f"{spoken(name.removesuffix(suffix))} ({unit})"
    return unit[:1].upper() + unit[1:]
