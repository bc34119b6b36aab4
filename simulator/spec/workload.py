"""Workload: how requests arrive, how long they are, and what they have in common."""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from simulator.errors import InputError, unknown_name
from simulator.spec.base import Spec
from simulator.spec.distributions import LengthField, WaitField
from simulator.spec.slo import Slo

CLASS_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
LENGTHS = "prompt_tokens with output_tokens"


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


class Prefix(Spec):
    """System prompts: a prompt begins with the `shared_tokens` of its group, one of `groups`, or lies within them.

    The k-th group is 1 / k^`zipf` as popular as the first; 0 makes all alike.
    """

    shared_tokens: LengthField
    groups: PositiveInt = 1
    zipf: NonNegativeFloat = 0.0


class Sessions(Spec):
    """Conversations: the first turn's prompt is `prompt_tokens`, each later one is the history and `new_tokens` more.

    The history is the prompt and the output of the turn before. A turn follows `think_time_s` after the end of the one
    before. With probability `reset_share` a turn, and whenever prompt and output would pass `max_context_tokens`, the
    history is dropped: the prompt is one as of the first turn and the new tokens, and shares no more than the system prompt.
    """

    turns: LengthField
    new_tokens: LengthField
    think_time_s: WaitField
    reset_share: float = Field(default=0.0, ge=0, lt=1)
    max_context_tokens: PositiveInt | None = Field(default=None, ge=2)


class Cancellation(Spec):
    """Users who give up: a `share` of the requests is dropped `after_s` after their arrival, unless they are done by then."""

    share: float = Field(gt=0, le=1)
    after_s: WaitField


class Preset(Spec):
    """A measured workload of the catalog: lengths, their correlation, the arrival process and the daily shape."""

    title: str
    prompt_tokens: LengthField
    output_tokens: LengthField
    copula_rho: float = Field(default=0.0, gt=-1, lt=1)
    arrival: Arrival
    prefix: Prefix | None = None
    sessions: Sessions | None = None
    diurnal: Diurnal | None = None
    licence: str
    sources: dict[str, str] = Field(min_length=1)


class Kind(Spec):
    """What requests of one kind are; `deadline_s` is when the operator drops an unfinished one, in seconds after its arrival.

    `priority`: the lower goes first. `prefix` and `sessions` replace those of the preset; `max_context_tokens` replaces that
    of the sessions, also where they are a preset's.
    """

    preset: str | None = None
    prompt_tokens: LengthField | None = None
    output_tokens: LengthField | None = None
    copula_rho: float = Field(default=0.0, gt=-1, lt=1)
    prefix: Prefix | None = None
    sessions: Sessions | None = None
    max_context_tokens: PositiveInt | None = Field(default=None, ge=2)
    priority: int | None = None
    deadline_s: PositiveFloat | None = None
    cancellation: Cancellation | None = None

    @property
    def origins(self) -> list[str]:
        """The fields that say how long requests are."""
        drawn = self.prompt_tokens is not None or self.output_tokens is not None
        return [*(["preset"] if self.preset is not None else []), *([LENGTHS] if drawn else [])]

    def check_lengths(self) -> None:
        """Raises InputError when one of prompt_tokens and output_tokens is given without the other."""
        if (self.prompt_tokens is None) != (self.output_tokens is None):
            missing = "prompt_tokens" if self.prompt_tokens is None else "output_tokens"
            raise InputError(missing, None, "a distribution, since the other one is given")


class RequestClass(Kind):
    """Requests of one class: their share of all, what they are where it differs from the workload's, and their own Slo."""

    share: float | None = Field(default=None, gt=0, le=1)
    slo: Slo | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if len(self.origins) > 1:
            raise InputError("", self.origins, f"one of preset or {LENGTHS}, or neither for those of the workload")
        self.check_lengths()
        if self.slo is not None and self.slo.class_names:
            raise InputError("slo", dict(self.slo), "bounds on this class alone")
        return self


class Workload(Kind):
    """Traffic: a preset, a trace, or distributions of prompt and output tokens; its rate, length and seed.

    `trace` is a path that the reader of the file has made absolute. `rate_rps` null replays a trace's own arrivals.
    `classes` are requests of several kinds; what a class does not state is the workload's. With `users` the loop is
    closed: each of them sends the next request `think_time_s` after the end of the last one, and there is no rate.
    """

    trace: str | None = None
    classes: dict[str, RequestClass] | None = Field(default=None, min_length=1)
    users: PositiveInt | None = None
    think_time_s: WaitField | None = None
    arrival: Arrival | None = None
    rate_rps: PositiveFloat | None = None
    num_requests: PositiveInt | None = None
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        origins = [*self.origins, *(["trace"] if self.trace is not None else [])]
        # In the order in which they are documented.
        origins.sort(key=("preset", "trace", LENGTHS).index)
        if len(origins) > 1 or (not origins and not (self.classes and all(each.origins for each in self.classes.values()))):
            raise InputError("", origins, f"exactly one of preset, trace, or {LENGTHS}")
        self.check_lengths()
        return self

    @model_validator(mode="after")
    def _classes(self) -> Self:
        for name, each in (self.classes or {}).items():
            if not CLASS_NAME.fullmatch(name):
                raise InputError("classes", name, "names of letters, digits, - and _, a letter first")
            if self.trace is not None:
                _refuse_with_trace(each, f"classes.{name}.", ("share", "preset", "prompt_tokens", "output_tokens"))
            elif each.share is None:
                raise InputError(f"classes.{name}.share", None, "a share of the requests, between 0 and 1")
        shares = [each.share or 0.0 for each in (self.classes or {}).values()]
        if self.trace is None and shares and abs(sum(shares) - 1) > 1e-6:
            raise InputError("classes", shares, f"shares that sum to 1 (these sum to {sum(shares):g})")
        return self

    @model_validator(mode="after")
    def _loop(self) -> Self:
        if self.trace is not None:
            _refuse_with_trace(self, "", ())
        if self.users is None and self.think_time_s is not None:
            raise InputError("think_time_s", self.think_time_s.model_dump(exclude_none=True), "none without users")
        for name in ("rate_rps", "arrival") if self.users is not None else ():
            value = getattr(self, name)
            if value is not None:
                shown = value.process if isinstance(value, Arrival) else value
                raise InputError(name, shown, "none with users, who send the next request when the last one is done")
        return self

    def slo_with(self, slo: Slo | None) -> Slo | None:
        """Returns `slo` with the classes' own ones, each of which stands in its place for the requests of that class.

        Raises InputError for bounds on a class that the workload does not have; a trace's classes are not known here.
        """
        classes = self.classes or {}
        for name in () if slo is None or self.trace is not None else slo.class_names:
            if name not in classes:
                raise unknown_name("slo (unknown class)", name, classes)
        told = () if slo is None else slo.class_names
        own = {
            name: each.slo
            for name, each in classes.items()
            if each.slo is not None and not (slo is not None and name in told and dict(slo.for_class(name)) == dict(each.slo))
        }
        return (slo or Slo({})).with_classes(own) if own else slo


def _refuse_with_trace(kind: Kind, where: str, also: tuple[str, ...]) -> None:
    """Raises InputError for what a trace says already: what is in its prompts, and which turns follow which."""
    for name in ("prefix", "sessions", "max_context_tokens", *also):
        value = getattr(kind, name)
        if value is not None:
            shown = value.model_dump(exclude_none=True) if isinstance(value, Spec) else value
            raise InputError(f"{where}{name}", shown, "none with a trace, whose rows are what they are")
