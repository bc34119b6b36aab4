"""KV allocators, one a file; the file name is the allocator's name.

The policy decides how many blocks a request holds, by the simulator's accounting; an allocator says which ones they are
in the pool's tensor. `check(limits)` raises InputError for limits that it cannot keep. `total(limits)` returns how many
blocks the tensor needs, `reserve(model, slots)` the tensor with room for so many tokens: whether memory lies behind all of
it from the start is the allocator's own affair. `blocks(driver, served, count)` returns the first `count` blocks of a
running request, in order: the same ones at every call until it is preempted or ends, and nobody else's unless they hold the
same tokens. It is asked before every step that writes to them, by when memory has to lie behind those.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol, cast

from torch import Tensor

from profiler.engine.driver import Driver, Ints, Served
from profiler.engine.model import Model
from simulator.errors import unknown_name
from simulator.kernel.engine import Limits


class Allocator(Protocol):
    """What the module of an allocator has."""

    def check(self, limits: Limits) -> None:
        """Raises InputError for limits that it cannot keep."""

    def total(self, limits: Limits) -> int:
        """Returns the blocks of the pool's tensor."""

    def reserve(self, model: Model, slots: int) -> Tensor:
        """Returns KV for so many tokens, [layers, 2, slots, kv_heads, dim], zeros; raises what torch raises without room."""

    def blocks(self, driver: Driver, served: Served, count: int) -> Ints:
        """Returns int64[count]."""


def names() -> tuple[str, ...]:
    """Returns the names of all allocators."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")))


def allocator(name: str, field: str = "kv_allocator") -> Allocator:
    """Returns the allocator called `name`; raises InputError under `field`, listing the choices."""
    if name not in names():
        raise unknown_name(field, name, names())
    return cast(Allocator, importlib.import_module(f"{__name__}.{name}"))
