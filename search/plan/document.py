"""Plan: the answer, as JSON and as what the dashboard shows. Lists by hour have 168 entries, from the week's beginning."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from search.plan.request import PlanRequest
from simulator.spec.base import Spec
from simulator.spec.slo import Slo

By = tuple[float, ...]
Counts = tuple[int, ...]
OptionName = Literal["static_on_demand", "static_reserved", "static_spot", "scheduled_on_demand", "scheduled_mixed"]


class Load(Spec):
    """Metrics of a deployment at a rate, as far as an Slo asks for them."""

    rate_rps: float
    metrics: dict[str, Any]


class Capable(Spec):
    """A deployment with its capacity and latency curve: all that a plan needs to know of it.

    Rates are those of `replicas` of it. `checked_share` is what simulating busy hours left of its capacity, 1 for all.
    `sized` says that it was run at one load alone, which its capacity is at least.
    """

    name: str
    trial: int | None = None
    deployment: dict[str, Any]
    replicas: int
    gpus_per_replica: int
    capacity_rps: float
    low_rps: float
    high_rps: float
    level: float | None
    binding: str | None
    slo: Slo
    curve: tuple[Load, ...] = Field(strict=False)
    requests_per_run: int
    origin: Literal["stored", "measured"]
    sized: bool = False
    checked_share: float = 1.0


class DemandWeek(Spec):
    """The demand planned for and, in `now_rps`, that without growth and uncertainty."""

    rate_rps: By = Field(strict=False)
    now_rps: By = Field(strict=False)
    mean_rps: float
    peak_rps: float
    mean_over_peak: float
    busiest_hour: int
    busiest: str
    labels: tuple[str, ...] = Field(strict=False)
    growth: float
    source: str
    notes: tuple[str, ...] = Field(strict=False)


class Option(Spec):
    """One way to rent a fleet: what runs hour by hour and what it costs. A unit is what is rented and lost together:
    an instance, or the several that one replica needs; a replica where the book sells single GPUs.

    `units` are the most units on each kind of price at once; `usd_by_hour` holds start-ups in the hour before. `share_of_static`
    is the cost over that of the same fleet all week at peak size, on demand.
    """

    name: OptionName
    instance: str
    provider: str
    replicas_per_unit: int
    instances_per_unit: int
    units: dict[str, int]
    replicas_by_hour: Counts = Field(strict=False)
    gpus_by_hour: Counts = Field(strict=False)
    usd_by_hour: By = Field(strict=False)
    peak_replicas: int
    peak_gpus: int
    gpu_hours_per_week: float
    starts_per_week: int
    usd_per_week: float
    usd_per_month: float
    usd_per_million_requests: float
    share_of_static: float | None


class Missed(Spec):
    """A bound in a window: its limit, and the value that was simulated (None: requests were lost, or the backlog grew)."""

    bound: str
    limit_s: float | None
    value_s: float | None


class Window(Spec):
    """An hour that was simulated at its own traffic, with as many replicas as are left after the loss that is survived."""

    hour: int
    label: str
    rate_rps: float
    replicas: int
    requests: int
    kept: bool
    bounds: tuple[Missed, ...] = Field(strict=False)
    traffic: str


class Candidate(Spec):
    """A deployment with the ways to rent it, cheapest first, and what simulating its busiest hours said."""

    deployment: Capable
    capacity_per_replica_rps: float | None
    binding: str | None
    options: tuple[Option, ...] = Field(default=(), strict=False)
    checked: tuple[Window, ...] = Field(default=(), strict=False)
    added: tuple[str, ...] = Field(default=(), strict=False)
    reason: str | None = None
    notes: tuple[str, ...] = Field(default=(), strict=False)


class Best(Spec):
    """The cheapest plan: a place in `candidates` and one in its `options`."""

    candidate: int
    option: int
    name: str
    option_name: OptionName
    usd_per_week: float
    usd_per_month: float
    saved_usd_per_week: float | None
    saved_share: float | None


class ForBudget(Spec):
    """What a budget buys: the most of this demand (its shape kept), and at this demand the Slo that can be had.

    `slo_factor` multiplies every bound: below 1 the budget pays for a tighter Slo; None where no factor between the
    `slo_range` fits. It is as good as the stored curves reach and is not simulated.
    """

    usd_per_month: float
    enough: bool
    demand_factor: float | None
    mean_rps: float | None
    peak_rps: float | None
    candidate: int | None
    option_name: OptionName | None
    slo_factor: float | None
    slo: dict[str, float] | None
    slo_range: tuple[float, float] = Field(strict=False)


class Plan(Spec):
    """A plan: the demand, the deployments by what their cheapest option costs, the best, and what a budget buys."""

    request: PlanRequest
    slo: dict[str, float]
    prices: str
    demand: DemandWeek
    candidates: tuple[Candidate, ...] = Field(strict=False)
    best: Best | None
    budget: ForBudget | None
    notes: tuple[str, ...] = Field(strict=False)
