"""What a drift report says, as plain frozen dataclasses; `asdict` makes its JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Change:
    """A number of the study's traffic beside that of the trace; None where that side has none.

    `change` is relative (None for shares and distances), `by_chance` what sampling alone explains: of a change in that
    direction, or of the difference of shares. `beyond` says whether the change is larger, None without one to compare with.
    """

    name: str
    group: str
    unit: str
    study: float | None
    trace: float | None
    change: float | None
    by_chance: float | None
    beyond: bool | None


@dataclass(frozen=True)
class Bounded:
    """A bound of the Slo at a load; `value_s` is None where it is infinite: a request was refused or never served."""

    bound: str
    limit_s: float
    value_s: float | None
    kept: bool


@dataclass(frozen=True)
class Load:
    """The fleet under the new requests at one rate: that of the trace, or the study's demand. `traffic` says which requests.

    `kept` asks for every bound and that the backlog does not grow. `needed` are the fewest replicas that keep the Slo, with
    their rent in dollars an hour; None where `reason` says why.
    """

    name: str
    rate_rps: float
    replicas: int
    requests: int
    traffic: str
    kept: bool
    bounds: tuple[Bounded, ...]
    backlog_grows: bool
    metrics: dict[str, Any]
    needed: int | None
    needed_usd_per_hour: float | None
    reason: str | None


@dataclass(frozen=True)
class Interval:
    """A value with the interval of its capacity."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Limit:
    """What so many replicas carry within the Slo, and a million output tokens at that rate; `reason` where they carry nothing."""

    replicas: int
    capacity_rps: Interval | None
    level: float | None
    binding: str | None
    usd_per_million_output_tokens: Interval | None
    reason: str | None = None


@dataclass(frozen=True)
class Stored:
    """What the study said of the trial: its operating point, and its limit where it has one."""

    rate_rps: float
    metrics: dict[str, Any]
    limit: Limit


@dataclass(frozen=True)
class Standing:
    """Whether the study's deployment still does what it was chosen for."""

    trial: int
    deployment: dict[str, Any]
    replicas: int
    usd_per_hour: float | None
    stands: bool
    verdict: str
    loads: tuple[Load, ...]
    limit: Limit
    stored: Stored | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Again:
    """The study's request searched with the trace: the best deployment now, beside the one that was chosen.

    `wins` says whether another deployment is better and not tied with it; `better_by` is relative, in the first objective,
    positive where the new one is better; None where the chosen deployment has no value. `study` is None, and so is the
    winner, where no deployment keeps the Slo.
    """

    study: str | None
    name: str
    demand_rps: float | None
    objective: str
    trial: int | None
    deployment: dict[str, Any] | None
    value: float | None
    chosen_value: float | None
    wins: bool | None
    better_by: float | None
    sentence: str


@dataclass(frozen=True)
class Drift:
    """A drift report: both sides, what changed, whether the answer stands, and what a new search found."""

    study: dict[str, Any]
    trace: dict[str, Any]
    changes: tuple[Change, ...]
    drifted: tuple[str, ...]
    standing: Standing
    search: Again | None
    notes: tuple[str, ...]
