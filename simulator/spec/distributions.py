"""Distributions: how many tokens, and how many seconds, each in one form of a few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from simulator.errors import InputError
from simulator.spec.base import Spec

LENGTH_FORMS = ("fixed", "uniform", "lognormal", "lognormals", "weibull", "quantiles")
WAIT_FORMS = ("fixed", "uniform", "exponential", "lognormal", "quantiles")


class Uniform(Spec):
    """Whole numbers of tokens from `low` to `high`, each as likely."""

    low: PositiveInt
    high: PositiveInt

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self.low, self.high)
        return self


class Lognormal(Spec):
    """Lognormal token counts by their median and the sigma of the natural logarithm, cut at `max`."""

    median: PositiveFloat
    sigma: PositiveFloat
    max: PositiveInt


class Lognormals(Spec):
    """A mixture of lognormal token counts: the weight, median and sigma of each part; cut at `max`."""

    weights: tuple[PositiveFloat, ...] = Field(min_length=1, strict=False)
    medians: tuple[PositiveFloat, ...] = Field(min_length=1, strict=False)
    sigmas: tuple[PositiveFloat, ...] = Field(min_length=1, strict=False)
    max: PositiveInt

    @model_validator(mode="after")
    def _parts(self) -> Self:
        for name in ("medians", "sigmas"):
            if len(getattr(self, name)) != len(self.weights):
                raise InputError(name, len(getattr(self, name)), f"as many as there are weights ({len(self.weights)})")
        return self


class Weibull(Spec):
    """Weibull counts by shape and scale, rounded to whole numbers, at least 1 and cut at `max`."""

    shape: PositiveFloat
    scale: PositiveFloat
    max: PositiveInt


class Quantiles(Spec):
    """Token counts at percentiles of a measured distribution, linear in between."""

    percent: tuple[float, ...] = Field(min_length=2, strict=False)
    tokens: tuple[PositiveInt, ...] = Field(min_length=2, strict=False)

    @model_validator(mode="after")
    def _grid(self) -> Self:
        _check_grid(self.percent, self.tokens, "tokens", "token counts")
        return self


class Lengths(Spec):
    """A distribution of token counts in exactly one form; a plain number means that many tokens always."""

    fixed: PositiveInt | None = None
    uniform: Uniform | None = None
    lognormal: Lognormal | None = None
    lognormals: Lognormals | None = None
    weibull: Weibull | None = None
    quantiles: Quantiles | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        _check_one_form(self, LENGTH_FORMS)
        return self


class UniformWait(Spec):
    """Seconds from `low` to `high`."""

    low: NonNegativeFloat
    high: NonNegativeFloat

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self.low, self.high)
        return self


class LognormalWait(Spec):
    """Lognormal seconds by their median and the sigma of the natural logarithm, cut at `max`."""

    median: PositiveFloat
    sigma: PositiveFloat
    max: PositiveFloat


class ExponentialWait(Spec):
    """Exponential seconds by their mean."""

    mean: PositiveFloat


class QuantileWait(Spec):
    """Seconds at percentiles of a measured distribution, linear in between."""

    percent: tuple[float, ...] = Field(min_length=2, strict=False)
    seconds: tuple[NonNegativeFloat, ...] = Field(min_length=2, strict=False)

    @model_validator(mode="after")
    def _grid(self) -> Self:
        _check_grid(self.percent, self.seconds, "seconds", "seconds")
        return self


class Wait(Spec):
    """A distribution of seconds in exactly one form; a plain number means that many seconds always."""

    fixed: NonNegativeFloat | None = None
    uniform: UniformWait | None = None
    exponential: ExponentialWait | None = None
    lognormal: LognormalWait | None = None
    quantiles: QuantileWait | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        _check_one_form(self, WAIT_FORMS)
        return self


def _fixed_count(value: Any) -> Any:
    return {"fixed": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _fixed_wait(value: Any) -> Any:
    return {"fixed": float(value)} if isinstance(value, int | float) and not isinstance(value, bool) else value


LengthField = Annotated[Lengths, BeforeValidator(_fixed_count)]
WaitField = Annotated[Wait, BeforeValidator(_fixed_wait)]


def _check_one_form(found: Spec, forms: tuple[str, ...]) -> None:
    given = [form for form in forms if getattr(found, form) is not None]
    if len(given) != 1:
        raise InputError("", given, f"exactly one of {', '.join(forms)}")


def _check_order(low: float, high: float) -> None:
    if high < low:
        raise InputError("high", high, f"at least low ({low})")


def _check_grid(percent: Sequence[float], values: Sequence[float], field: str, what: str) -> None:
    if len(percent) != len(values):
        raise InputError(field, len(values), f"as many as there are percentiles ({len(percent)})")
    if percent[0] != 0 or percent[-1] != 100 or list(percent) != sorted(set(percent)):
        raise InputError("percent", list(percent), "rising percentiles from 0 to 100")
    if list(values) != sorted(values):
        raise InputError(field, list(values), f"{what} that do not fall")
