"""Objectives: what a study minimizes or maximizes, one number of an operating point each.

An objective is a file whose name is the name in requests. It declares

    DIRECTION   "minimize" or "maximize"
    UNIT        the unit of the number, as it is shown to people
    value(point: OperatingPoint) -> float | None

and `NEEDS_PRICES = True` when it has no value without a price book. A file that holds a family of objectives declares
`NAMES` as well, and its function is `value(point, name)`; the name of such a file is not itself an objective.
`value` reads the point and changes nothing; None means that the point has no such number and cannot be ranked by it.
The first line of the file's docstring is the objective's title.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Literal, NamedTuple

from simulator.errors import unknown_name
from simulator.spec.metrics import Metrics

Direction = Literal["minimize", "maximize"]


class Interval(NamedTuple):
    """An estimate and the range that it lies in, in the unit of `value`."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class OperatingPoint:
    """A trial's deployment at a load: requests a second of the whole fleet, its Metrics, its capacity and its rent.

    `capacity_rps` is None where the trial's capacity was not searched; `usd_per_hour` is None without a price book.
    """

    trial: int
    rate_rps: float
    metrics: Metrics
    gpus: int
    capacity_rps: Interval | None = None
    usd_per_hour: float | None = None


@dataclass(frozen=True)
class Objective:
    """One number of an operating point, and which way is better."""

    name: str
    title: str
    direction: Direction
    unit: str
    needs_prices: bool
    raw: Callable[[OperatingPoint], float | None]

    def value(self, point: OperatingPoint) -> float | None:
        """Returns the finite number of the point, or None."""
        number = self.raw(point)
        return None if number is None or not math.isfinite(number) else float(number)


def names() -> tuple[str, ...]:
    """Returns the sorted names of all objectives."""
    return tuple(sorted(_files()))


def load(name: str, field: str = "objectives") -> Objective:
    """Returns the objective called `name`; raises InputError under `field`, listing the choices, for an unknown one."""
    files = _files()
    if name not in files:
        raise unknown_name(field, name, files)
    module = files[name]
    return Objective(
        name=name,
        title=(module.__doc__ or name).strip().splitlines()[0],
        direction=module.DIRECTION,
        unit=module.UNIT,
        needs_prices=getattr(module, "NEEDS_PRICES", False),
        raw=partial(module.value, name=name) if hasattr(module, "NAMES") else module.value,
    )


@cache
def _files() -> dict[str, ModuleType]:
    stems = (path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))
    modules = [importlib.import_module(f"{__name__}.{stem}") for stem in stems]
    return {name: module for module in modules for name in getattr(module, "NAMES", (module.__name__.rpartition(".")[2],))}
