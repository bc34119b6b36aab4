"""The checker of contracts sees each way to break one."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from tests.conformance.contract import Unfit, check

ATTRIBUTES = {"COUNTABLE": bool, "WATERMARK": float, "DEFAULT_RANK": int | None}
FUNCTIONS = {"schedule": ("config", "replica")}


def schedule(config: Any, replica: Any) -> None:
    """Decides one step."""


def module(**changes: Any) -> ModuleType:
    """Returns a module that keeps the contract, but for the changes; None removes a name."""
    found = ModuleType("made_up", "A made-up policy for this test.")
    names = {"COUNTABLE": True, "WATERMARK": 0.5, "DEFAULT_RANK": 3, "schedule": schedule, **changes}
    for name, value in names.items():
        if value is not ...:
            setattr(found, name, value)
    return found


def test_a_module_that_keeps_it_passes() -> None:
    check(module(), ATTRIBUTES, FUNCTIONS)
    check(module(DEFAULT_RANK=None), ATTRIBUTES, FUNCTIONS)


def unannotated(config, replica):  # type: ignore[no-untyped-def]
    """Decides one step."""


def silent(config: Any, replica: Any) -> None:
    pass


def reordered(replica: Any, config: Any) -> None:
    """Decides one step."""


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"__doc__": "Short"}, "begins with a title"),
        ({"__doc__": None}, "begins with a title"),
        ({"COUNTABLE": ...}, "declares COUNTABLE"),
        ({"COUNTABLE": 1}, "COUNTABLE is"),
        ({"WATERMARK": "0.5"}, "WATERMARK is"),
        ({"DEFAULT_RANK": True}, "DEFAULT_RANK is"),
        ({"schedule": ...}, "has schedule"),
        ({"schedule": reordered}, r"schedule\(config, replica\)"),
        ({"schedule": unannotated}, "says what comes back"),
        ({"schedule": silent}, "has a docstring"),
    ],
)
def test_a_broken_contract_is_seen(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(Unfit, match=complaint):
        check(module(**changes), ATTRIBUTES, FUNCTIONS)
