"""Attention backends, one a file; the file name is what `--attention-backend` takes.

A module has `available(machine)`, and three functions that return something to run: `prefill(machine, heads, chunk, before)`,
one chunk after cached tokens; `decode(machine, heads, decodes, kv)`; and `mixed(machine, heads, chunk, decodes, kv)`, both in one
step. RANK orders them: `auto` takes the first one that is available.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from simulator.errors import InputError, unknown_name
from simulator.optime.attended import DecodeAttention, PrefillAttention
from simulator.optime.operators import Operator
from simulator.spec.device import Dtype

if TYPE_CHECKING:
    from profiler.machine import Machine

Run = Callable[[], object]
AUTO = "auto"


@dataclass(frozen=True)
class Heads:
    """The heads of one GPU."""

    heads: int
    kv_heads: int
    head_dim: int
    dtype: Dtype

    @classmethod
    def of(cls, operator: Operator) -> Heads:
        """Returns those of an attention operator."""
        assert isinstance(operator, PrefillAttention | DecodeAttention)
        return cls(operator.heads, operator.kv_heads, operator.head_dim, operator.dtype)


class Backend(Protocol):
    """What a file here offers."""

    RANK: int

    def available(self, machine: Machine) -> bool:
        """Returns whether it runs here."""

    def prefill(self, machine: Machine, heads: Heads, chunk: int, before: int) -> Run:
        """Returns the attention of one chunk."""

    def decode(self, machine: Machine, heads: Heads, decodes: int, kv: int) -> Run:
        """Returns the attention of decodes."""

    def mixed(self, machine: Machine, heads: Heads, chunk: int, decodes: int, kv: int) -> Run:
        """Returns the attention of decodes beside a chunk."""


@cache
def names() -> tuple[str, ...]:
    """Returns the backends' names."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")))


def module(name: str) -> Backend:
    """Returns a backend."""
    return cast(Backend, importlib.import_module(f"{__name__}.{name}"))


def choose(machine: Machine, name: str = AUTO) -> str:
    """Returns the name of the backend that the machine measures with from now on.

    Raises InputError for one that is unknown or does not run here.
    """
    if name not in (AUTO, *names()):
        raise unknown_name("--attention-backend", name, (AUTO, *names()))
    running = sorted((each for each in names() if module(each).available(machine)), key=lambda each: module(each).RANK)
    if name not in (AUTO, *running):
        raise InputError("--attention-backend", name, f"{', '.join(running)} on this machine")
    machine.attention = running[0] if name == AUTO else name
    return machine.attention


def chosen(machine: Machine) -> Backend:
    """Returns the machine's backend."""
    return module(machine.attention or choose(machine))
