"""Operators that are measured, one a file; the file name is the operator's kind.

The kinds are those of a profile (`simulator.optime.shapes.KEYS`); kernels that only move bytes go by the name that the model
families give them, of which the file name is the end: `norm.py` measures input_norm as well as qk_norm.

A module has `prepare(subject, place, machine) -> Case`: tensors of the subject's shape at one place (values of the extents
of its kind, in the order of `simulator.optime.shapes.EXTENTS`), made by the machine, and what runs on them. What it runs is
what torch offers for the operator on the device. Memory is allocated in `prepare` alone, but for outputs. An operator with
no file here is not measured and stays with the other sources.

What several ranks do together has `exchange(result_bytes, ranks, machine)` instead, which returns what each rank runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from profiler.sample import Case, Place
from profiler.subject import Subject
from simulator.optime.operators import Memory, Operator
from simulator.optime.shapes import key_of

if TYPE_CHECKING:
    from profiler.machine import Machine


Run = Callable[[], object]


class Module(Protocol):
    """What the file of an operator on one device offers."""

    def prepare(self, subject: Subject, place: Place, machine: Machine) -> Case:
        """Returns the operator at a place, ready to run."""


class Exchange(Protocol):
    """What the file of a collective offers."""

    def exchange(self, result_bytes: int, ranks: int, machine: Machine) -> Run:
        """Returns what each rank runs."""


@cache
def names() -> tuple[str, ...]:
    """Returns the kinds that are measured."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")))


def file_of(operator: Operator) -> str | None:
    """Returns the file that measures an operator, or None."""
    if isinstance(operator, Memory):
        return next((name for name in names() if operator.name == name or operator.name.endswith(f"_{name}")), None)
    key = key_of(operator)
    return str(key[0]) if key is not None and key[0] in names() else None


def module_of(operator: Operator) -> Module:
    """Returns the module that measures an operator."""
    return cast(Module, importlib.import_module(f"{__name__}.{file_of(operator)}"))


def exchange_of(kind: str) -> Exchange:
    """Returns the module of a kind of collective."""
    return cast(Exchange, importlib.import_module(f"{__name__}.{kind}"))
