"""How requests arrive: one process a module, and the module's name is the process's name.

The contract of a process (`Process`): `gaps` returns the times between consecutive arrivals in units of their mean, so
that a process knows no rate; it draws from the generator that it is given and from nothing else, and it neither falls
below zero nor returns a value that is not finite. TAKES_CV says whether it has a coefficient of variation to be set, and
then it has to be. RECORDED says that arrivals are those of a trace: the process has no gaps of its own.
"""

from __future__ import annotations

from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from simulator import catalog
from simulator.errors import InputError
from simulator.spec.workload import Arrival

MOST_CV = 1000.0


class Process(Protocol):
    """What a module of this folder provides."""

    TAKES_CV: bool
    RECORDED: bool

    def gaps(self, count: int, cv: float | None, rng: np.random.Generator) -> NDArray[np.float64]:
        """Returns float64[count] gaps of mean 1."""


def process(arrival: Arrival, field: str = "workload.arrival") -> Process:
    """Returns the process of an Arrival; raises InputError for an unknown one and for a `cv` that does not go with it."""
    found = cast(Process, catalog.module("arrivals", arrival.process, f"{field}.process"))
    if found.TAKES_CV and (arrival.cv is None or arrival.cv > MOST_CV):
        raise InputError(f"{field}.cv", arrival.cv, f"a positive number up to {MOST_CV:g}, which {arrival.process} needs")
    if arrival.cv is not None and not found.TAKES_CV:
        raise InputError(f"{field}.cv", arrival.cv, f"none with {arrival.process}; it goes with {', '.join(taking_cv())}")
    return found


def taking_cv() -> list[str]:
    """Returns the names of the processes that have a `cv`."""
    return [name for name in catalog.names("arrivals") if catalog.module("arrivals", name, "arrival.process").TAKES_CV]


def generating() -> list[str]:
    """Returns the names of the processes that need no recorded arrivals."""
    return [name for name in catalog.names("arrivals") if not catalog.module("arrivals", name, "arrival.process").RECORDED]
