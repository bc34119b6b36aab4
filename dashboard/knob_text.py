"""A field of a request's `space` as a line of text and back: `1, 2, 4`, `1..8 step 2`, `512..8192 log2`; nothing is no field."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from simulator.spec.base import yaml_scalar

_RANGE = re.compile(r"([^\s,]+?)\s*\.\.\s*([^\s,]+)\s+(?:step\s+([^\s,]+)|(log2))")
_PARTS = {"low", "high", "step", "log2"}


def scalar_text(value: object) -> str | None:
    """Returns one value as text that `yaml_scalar` reads back; None where no plain text does."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, int | float | str):
        return None
    text = str(value)
    plain = text == text.strip() and "," not in text and ".." not in text and bool(text)
    back = yaml_scalar(text)
    return text if plain and back == value and type(back) is type(value) else None


def text_of(value: object) -> str | None:
    """Returns what the values of a knob look like in one line; None for what has no such form, such as lists in a list."""
    if isinstance(value, Mapping):
        return _range_text(value)
    if isinstance(value, list | tuple):
        texts = [scalar_text(each) for each in value]
        return ", ".join(text for text in texts if text is not None) if texts and None not in texts else None
    return scalar_text(value)


def _range_text(value: Mapping[Any, Any]) -> str | None:
    low, high = scalar_text(value.get("low")), scalar_text(value.get("high"))
    if set(value) - _PARTS or {"low", "high"} - set(value) or low is None or high is None:
        return None
    if set(value) == {"low", "high", "log2"} and value["log2"] is True:
        return f"{low}..{high} log2"
    step = scalar_text(value.get("step"))
    return f"{low}..{high} step {step}" if set(value) == {"low", "high", "step"} and step is not None else None


def value_of(text: str) -> Any:
    """Returns the values that a line stands for: one, a list, or a range; raises nothing, since the request checks them."""
    found = _RANGE.fullmatch(text.strip())
    if found:
        low, high, step, _ = found.groups()
        ends = {"low": yaml_scalar(low), "high": yaml_scalar(high)}
        return {**ends, "log2": True} if step is None else {**ends, "step": yaml_scalar(step)}
    parts: Sequence[str] = [part.strip() for part in text.split(",") if part.strip()]
    values = [yaml_scalar(part) for part in parts]
    return values[0] if len(values) == 1 else values
