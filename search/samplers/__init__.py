"""Samplers: which deployments of a space a study tries next. One file each, one contract.

A study asks for a batch, runs it, tells every result of it, and asks again; only then does a seed give the same study.

`ask(count)` returns at most `count` legal deployments that it has not returned and has not been told of before; an empty
list means that there is nothing more to try. `tell(results)` takes deployments with the values of the study's objectives
in their order, or None for a deployment that is infeasible: asked ones, and on resuming those of an earlier run, before
the first `ask`. The space is shared with the study and is not changed; a sampler belongs to one study and one thread.

The file's name is its name in requests, and the file provides `create(problem: Problem) -> Sampler`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from search.space import Space
from simulator.errors import unknown_name
from simulator.spec.deployment import Resolved

Values = tuple[float, ...]
Told = tuple[Resolved, Values | None]


@dataclass(frozen=True)
class Problem:
    """What a study searches: a space, the direction of each objective, how many trials it may run, and its seed."""

    space: Space
    directions: tuple[Literal["minimize", "maximize"], ...]
    trials: int
    seed: int = 0


class Sampler(Protocol):
    """Proposes deployments; `sentence` says in words what it does, `learns` whether results change what it asks for next."""

    learns: bool
    sentence: str

    def ask(self, count: int) -> list[Resolved]:
        """Returns at most `count` new legal deployments; an empty list when there are no more."""

    def tell(self, results: Sequence[Told]) -> None:
        """Takes the objective values of deployments, None for infeasible ones."""


def names() -> tuple[str, ...]:
    """Returns the sorted names of all samplers, `auto` among them."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")))


def create(name: str, problem: Problem, field: str = "sampler") -> Sampler:
    """Returns the sampler called `name`; raises InputError under `field`, listing the choices, for an unknown one."""
    if name not in names():
        raise unknown_name(field, name, names())
    sampler: Sampler = importlib.import_module(f"{__name__}.{name}").create(problem)
    return sampler
