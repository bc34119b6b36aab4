"""Workload: how requests arrive and how long they are."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from simulator.errors import InputError
from simulator.spec.base import Spec

LENGTH_FORMS = ("fixed", "uniform", "lognormal", "quantiles")


class Uniform(Spec):
    """Whole numbers of tokens from `low` to `high`, each as likely."""

    low: PositiveInt
    high: PositiveInt

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.high < self.low:
            raise InputError("high", self.high, f"at least low ({self.low})")
        return self


class Lognormal(Spec):
    """Lognormal token counts by their median and the sigma of the natural logarithm, cut at `max`."""

    median: PositiveFloat
    sigma: PositiveFloat
    max: PositiveInt


class Quantiles(Spec):
    """Token counts at percentiles of a measured distribution, linear in between."""

    percent: tuple[float, ...] = Field(min_length=2, strict=False)
    tokens: tuple[PositiveInt, ...] = Field(min_length=2, strict=False)

    @model_validator(mode="after")
    def _grid(self) -> Self:
        if len(self.percent) != len(self.tokens):
            raise InputError("tokens", len(self.tokens), f"as many as there are percentiles ({len(self.percent)})")
        if self.percent[0] != 0 or self.percent[-1] != 100 or list(self.percent) != sorted(set(self.percent)):
            raise InputError("percent", list(self.percent), "rising percentiles from 0 to 100")
        if list(self.tokens) != sorted(self.tokens):
            raise InputError("tokens", list(self.tokens), "token counts that do not fall")
        return self


class Lengths(Spec):
    """A distribution of token counts in exactly one form; a plain number means that many tokens always."""

    fixed: PositiveInt | None = None
    uniform: Uniform | None = None
    lognormal: Lognormal | None = None
    quantiles: Quantiles | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        given = [form for form in LENGTH_FORMS if getattr(self, form) is not None]
        if len(given) != 1:
            raise InputError("", given, f"exactly one of {', '.join(LENGTH_FORMS)}")
        return self


def _number_is_fixed(value: Any) -> Any:
    return {"fixed": value} if isinstance(value, int) and not isinstance(value, bool) else value


LengthField = Annotated[Lengths, BeforeValidator(_number_is_fixed)]


class Arrival(Spec):
    """An arrival process of the catalog; `cv` is the coefficient of variation of the gaps, where the process has one."""

    process: str = "poisson"
    cv: PositiveFloat | None = None


class Diurnal(Spec):
    """The rate by hour of the day (UTC) over the weekly mean."""

    weekday_utc: tuple[PositiveFloat, ...] = Field(min_length=24, max_length=24, strict=False)
    weekend_utc: tuple[PositiveFloat, ...] = Field(min_length=24, max_length=24, strict=False)

    @property
    def mean_over_peak(self) -> float:
        """The weekly mean rate over that of the busiest hour."""
        total = (5 * sum(self.weekday_utc) + 2 * sum(self.weekend_utc)) / 168
        return total / max(*self.weekday_utc, *self.weekend_utc)


class Preset(Spec):
    """A measured workload of the catalog: lengths, their correlation, the arrival process and the daily shape."""

    title: str
    prompt_tokens: LengthField
    output_tokens: LengthField
    copula_rho: float = Field(default=0.0, gt=-1, lt=1)
    arrival: Arrival
    diurnal: Diurnal | None = None
    licence: str
    sources: dict[str, str] = Field(min_length=1)


class Workload(Spec):
    """Traffic: a preset, a trace, or distributions of prompt and output tokens; its rate, length and seed.

    `trace` is a path that the reader of the file has made absolute. `rate_rps` null replays a trace's own arrivals.
    """

    preset: str | None = None
    trace: str | None = None
    prompt_tokens: LengthField | None = None
    output_tokens: LengthField | None = None
    copula_rho: float = Field(default=0.0, gt=-1, lt=1)
    arrival: Arrival | None = None
    rate_rps: PositiveFloat | None = None
    num_requests: PositiveInt | None = None
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        origins = [name for name in ("preset", "trace") if getattr(self, name) is not None]
        if self.prompt_tokens is not None or self.output_tokens is not None:
            origins.append("prompt_tokens and output_tokens")
        if len(origins) != 1:
            raise InputError("", origins, "exactly one of preset, trace, or prompt_tokens with output_tokens")
        if (self.prompt_tokens is None) != (self.output_tokens is None):
            missing = "prompt_tokens" if self.prompt_tokens is None else "output_tokens"
            raise InputError(missing, None, "a distribution, since the other one is given")
        return self
