"""What every implementation file of a folder keeps: a title, the declared attributes, functions of the stated signature."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from types import ModuleType, NoneType, UnionType
from typing import Any

from simulator import catalog

Attributes = Mapping[str, type | UnionType]
Functions = Mapping[str, Sequence[str]]


class Unfit(AssertionError):
    """A file that does not keep its folder's contract."""


def modules(kind: str) -> list[tuple[str, ModuleType]]:
    """Returns every implementation of one kind, by name."""
    return [(name, catalog.module(kind, name, kind)) for name in catalog.names(kind)]


def check(module: ModuleType, attributes: Attributes, functions: Functions) -> None:
    """Raises Unfit unless the module has a title, the attributes and the functions, each with its docstring."""
    name = module.__name__
    title = first_line(module.__doc__)
    require(title.endswith((".", ";", ":")) and len(title) > 15, f"{name} begins with a title that is a sentence: {title!r}")
    for attribute, kind in attributes.items():
        require(hasattr(module, attribute), f"{name} declares {attribute}")
        value = getattr(module, attribute)
        # True is an int, which no number here may be.
        fits = isinstance(value, kind) and (isinstance(value, bool) <= (kind is bool))
        require(fits, f"{name}.{attribute} is {kind}: {value!r}")
    for function, parameters in functions.items():
        require(callable(getattr(module, function, None)), f"{name} has {function}")
        found = python_function(getattr(module, function))
        signature = inspect.signature(found)
        require(list(signature.parameters) == list(parameters), f"{name}.{function}({', '.join(parameters)}): {signature}")
        require(signature.return_annotation is not inspect.Signature.empty, f"{name}.{function} says what comes back")
        require(len(first_line(found.__doc__)) > 10, f"{name}.{function} has a docstring")


def python_function(function: Any) -> Any:
    """Returns the Python function behind a compiled one."""
    return getattr(function, "py_func", function)


def first_line(text: str | None) -> str:
    """Returns the first line of a docstring."""
    return (text or "").strip().split("\n")[0].strip()


def require(holds: object, what: str) -> None:
    """Raises Unfit unless it holds."""
    if not holds:
        raise Unfit(what)


__all__ = ["NoneType", "Unfit", "check", "first_line", "modules", "python_function", "require"]
