"""Grid: the values that one field of a request's `space` stands for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from simulator.errors import InputError
from simulator.spec.base import Spec

MOST_VALUES = 10_000
Number = int | float


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError("", value, "a number")
    return value


# One check in place of a union of types, whose members would each be complained of under a path of its own.
NumberField = Annotated[Any, BeforeValidator(_number), Field(ge=0)]


class Range(Spec):
    """Numbers from `low` up to `high`: every `step`, or the powers of two among them."""

    low: NumberField
    high: NumberField
    step: NumberField | None = None
    log2: bool = False

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.high < self.low:
            raise InputError("high", self.high, f"at least low ({self.low})")
        if self.log2 == bool(self.step):
            raise InputError("step", self.step, "either step or log2: true, and not both")
        if self.step is not None and (self.high - self.low) / self.step >= MOST_VALUES:
            raise InputError("step", self.step, f"a step that makes at most {MOST_VALUES} values")
        if not self.values():
            raise InputError("low", self.low, f"a range up to high ({self.high}) with a power of two in it")
        return self

    def values(self) -> list[Number]:
        """Returns the numbers in ascending order, whole ones as int."""
        if self.log2:
            powers = (2**exponent for exponent in range(64))
            return [power for power in powers if self.low <= power <= self.high]
        # Decimal keeps 0.8 + 3 x 0.05 at 0.95, where binary fractions would miss the high end.
        low, high, step = (Decimal(str(number)) for number in (self.low, self.high, self.step))
        exact = [low + step * index for index in range(int((high - low) / step) + 1)]
        whole = all(isinstance(number, int) for number in (self.low, self.step))
        return [int(number) if whole else float(number) for number in exact]


def values_of(given: object, field: str) -> Iterator[tuple[object, str]]:
    """Yields each value that a field stands for, with the path under which it is to be refused."""
    if isinstance(given, Mapping):
        parsed = Range.parse(given, field)
        yield from ((value, field) for value in parsed.values())
    elif isinstance(given, list | tuple):
        if not given:
            raise InputError(field, list(given), "at least one value")
        yield from ((value, f"{field}.{index}") for index, value in enumerate(given))
    else:
        yield given, field
