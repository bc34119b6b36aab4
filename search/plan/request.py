"""PlanRequest: the demand of a week, the deployments that may serve it, and the rules of the fleet. The same in YAML and REST."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator

from simulator import catalog
from simulator.errors import InputError
from simulator.scenario import UPLOAD, anchored
from simulator.spec.base import Spec, read_yaml
from simulator.spec.deployment import Deployment
from simulator.spec.prices import Term
from simulator.spec.slo import Slo
from simulator.spec.workload import Workload

WEEK_H = 168
DAY_H = 24
MEDIAN = 50.0
SHAPES = ("preset", "trace", "forecast")
Loss = Literal["nothing", "replica", "instance", "zone"]


class ForecastHour(Spec):
    """The rate foretold for an hour of the day or of the week, from 0, and the interval that it lies in."""

    hour: NonNegativeInt
    rate_rps: NonNegativeFloat
    low: NonNegativeFloat | None = None
    high: NonNegativeFloat | None = None


class Interval(Spec):
    """How sure a demand is: with probability `level` it is between `low` and `high` times what is foretold.

    A forecast that has the columns low and high takes those, and states the level alone.
    """

    level: float = Field(gt=0, lt=1)
    low: float | None = Field(default=None, gt=0, le=1)
    high: float | None = Field(default=None, ge=1)


class Demand(Spec):
    """Requests a second by hour of a week: the daily shape of a preset, a trace's own clock, or a forecast.

    `mean_rps` or `peak_rps` scales the week; a preset needs one. Growth is compounded over `months`. `percentile` is that of
    the uncertain demand which is planned for.
    """

    preset: str | None = None
    trace: str | None = None
    forecast: tuple[ForecastHour, ...] | None = Field(default=None, strict=False)
    mean_rps: PositiveFloat | None = None
    peak_rps: PositiveFloat | None = None
    growth_per_month: float = Field(default=0.0, gt=-1, le=10)
    months: float = Field(default=0.0, ge=0, le=120)
    percentile: float = Field(default=MEDIAN, gt=0, lt=100)
    interval: Interval | None = None

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        given = [name for name in SHAPES if getattr(self, name) is not None]
        if len(given) != 1:
            raise InputError("", given, f"exactly one of {', '.join(SHAPES)}")
        if self.mean_rps is not None and self.peak_rps is not None:
            raise InputError("peak_rps", self.peak_rps, "none beside mean_rps")
        if self.preset is not None and self.mean_rps is None and self.peak_rps is None:
            raise InputError("mean_rps", None, "requests a second (or peak_rps), since a preset has a shape and no rate")
        if self.forecast is not None:
            _check_forecast(self.forecast)
        self._check_interval()
        return self

    def _check_interval(self) -> None:
        told = self.forecast is not None and self.forecast[0].high is not None
        interval = self.interval
        if interval is not None:
            if told and (interval.low is not None or interval.high is not None):
                raise InputError("interval", interval.model_dump(), "the level alone, since the forecast has low and high")
            if not told and (interval.low is None or interval.high is None):
                raise InputError("interval", interval.model_dump(), "level, low and high, the last two as factors of the demand")
        elif self.percentile != MEDIAN and self.trace is None:
            raise InputError("percentile", self.percentile, "50 without an interval, which tells how sure the demand is")


class Scaling(Spec):
    """Scaling by the clock: a replica serves `start_up_s` after its instance is rented, which then runs `min_up_h` at least."""

    start_up_s: float = Field(ge=0, le=86_400)
    min_up_h: int = Field(default=1, ge=1, le=48)


class Fleet(Spec):
    """What a fleet must hold in every hour: the demand and `headroom` of it more, also after one loss of what it `survives`."""

    headroom: float = Field(default=0.0, ge=0, le=10)
    survives: Loss = "nothing"
    zones: int | None = Field(default=None, ge=2, le=16)
    scaling: Scaling | None = None

    @model_validator(mode="after")
    def _zones_to_lose(self) -> Self:
        if (self.survives == "zone") != (self.zones is not None):
            allowed = "how many zones the fleet is spread over, since it survives one" if self.zones is None else "none"
            raise InputError("zones", self.zones, f"{allowed} with survives: {self.survives}")
        return self


class Spot(Spec):
    """How far spot is trusted: of the units that an hour needs, no more than `max_share` are missing when all spot is taken
    away. Interruptions are not simulated."""

    max_share: float = Field(gt=0, le=1)


class Check(Spec):
    """How many busy hours are simulated for a plan; 0 simulates none."""

    windows: int = Field(default=2, ge=0, le=24)


class PlanRequest(Spec):
    """A week's demand, the deployments to serve it, and the rules. `study` brings traffic, Slo, prices and capacities.

    `terms` are the prices that may be paid beside spot, which is paid where the book has it and `spot` is stated.
    """

    name: str = Field(default="plan", min_length=1, max_length=200)
    study: str | None = None
    trials: tuple[NonNegativeInt, ...] | None = Field(default=None, min_length=1, strict=False)
    deployments: tuple[Deployment, ...] | None = Field(default=None, min_length=1, max_length=16, strict=False)
    workload: Workload | None = None
    slo: Slo | None = None
    prices: str | None = None
    profiles: tuple[dict[str, Any], ...] | None = Field(default=None, min_length=1, strict=False)
    demand: Demand
    fleet: Fleet = Fleet()
    terms: tuple[Literal["on_demand", "reserved"], ...] = Field(default=("on_demand", "reserved"), min_length=1, strict=False)
    spot: Spot | None = None
    check: Check = Check()
    budget_usd_per_month: PositiveFloat | None = None
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.study is None) == (self.deployments is None):
            raise InputError("study", self.study, "a study, or deployments in its place")
        if self.study is not None:
            for name in ("workload", "profiles"):
                if getattr(self, name) is not None:
                    raise InputError(name, getattr(self, name), "none with a study, which has its own")
        elif self.trials is not None:
            raise InputError("trials", self.trials, "none without a study")
        elif self.slo is None and not (self.workload and self.workload.slo_with(None)):
            raise InputError("slo", None, "the bounds that the fleet keeps, such as {ttft_p99_s: 2.0}")
        elif self.prices is None:
            raise InputError("prices", None, f"a price book: {', '.join(catalog.names('prices'))}")
        if self.workload is not None:
            self._check_workload(self.workload)
        if self.prices is not None:
            catalog.price_book(self.prices)
        if "on_demand" not in self.terms and self.fleet.scaling is not None and self.spot is None:
            raise InputError("terms", self.terms, "on_demand among them, or spot: what is reserved cannot be scaled")
        return self

    def _check_workload(self, workload: Workload) -> None:
        for name in ("rate_rps", "num_requests", "users"):
            if getattr(workload, name) is not None:
                raise InputError(f"workload.{name}", getattr(workload, name), "nothing in a plan, whose load is its demand")

    @property
    def traffic(self) -> Workload:
        """The workload of deployments that are given: the stated one, else the demand's preset or trace."""
        if self.workload is not None:
            return self.workload
        if self.demand.forecast is not None:
            raise InputError("workload", None, "what the requests are, since a forecast tells only how many")
        return Workload(preset=self.demand.preset, trace=self.demand.trace)

    def paid(self) -> tuple[Term, ...]:
        """Returns every kind of price that may be paid."""
        return (*self.terms, *(("spot",) if self.spot is not None else ()))


def read(path: Path) -> PlanRequest:
    """Returns the request in a YAML file, its paths absolute and its forecast read; raises InputError for what is wrong."""
    data = anchored(read_yaml(path), path.parent)
    demand = data.get("demand")
    if isinstance(demand, Mapping):
        demand = dict(demand)
        trace, table = demand.get("trace"), demand.get("forecast")
        if isinstance(trace, str) and not trace.startswith(UPLOAD):
            demand["trace"] = str((path.parent / Path(trace).expanduser()).resolve())
        if isinstance(table, str):
            demand["forecast"] = forecast(path.parent / Path(table).expanduser())
        data["demand"] = demand
    return PlanRequest.parse(data)


def forecast(path: Path) -> list[dict[str, float]]:
    """Returns the rows of a table `hour,rate_rps[,low,high]`; raises InputError with the line of what is no number."""
    field = "demand.forecast"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return forecast_rows(file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(field, str(path), f"a readable CSV file ({getattr(error, 'strerror', None) or error})") from None


def forecast_rows(lines: Iterable[str]) -> list[dict[str, float]]:
    """Returns the rows of a table of text; raises InputError as `forecast` does."""
    rows = csv.DictReader(lines)
    columns = [name.strip() for name in rows.fieldnames or ()]
    if columns not in (["hour", "rate_rps"], ["hour", "rate_rps", "low", "high"]):
        allowed = "a table with the columns hour,rate_rps or hour,rate_rps,low,high"
        raise InputError("demand.forecast", ",".join(columns), allowed)
    rows.fieldnames = columns
    return [{name: _number(row, name, rows.line_num) for name in columns} for row in rows]


def _number(row: Mapping[Any, Any], name: str, line: int) -> float:
    field = f"demand.forecast (line {line}, {name})"
    if None in row:
        raise InputError(f"demand.forecast (line {line})", row[None], "as many cells as columns")
    try:
        value = float(row[name])
    except (TypeError, ValueError):
        raise InputError(field, row[name], "a number") from None
    if not math.isfinite(value) or value < 0:
        raise InputError(field, row[name], "a number, 0 or more")
    if name != "hour":
        return value
    if value != int(value):
        raise InputError(field, row[name], "a whole number")
    return int(value)


def _check_forecast(rows: tuple[ForecastHour, ...]) -> None:
    hours = sorted(row.hour for row in rows)
    if hours not in (list(range(DAY_H)), list(range(WEEK_H))):
        missing = sorted(set(range(WEEK_H if len(hours) > DAY_H else DAY_H)) - set(hours))
        told = f"; hour {missing[0]} is missing" if missing else "; an hour is there twice"
        raise InputError("forecast", f"{len(rows)} rows", f"each hour once, 0 to 23 of a day or 0 to 167 of a week{told}")
    if not any(row.rate_rps for row in rows):
        raise InputError("forecast", "no requests", "a rate above 0 in some hour")
    stated = [(row.low is not None, row.high is not None) for row in rows]
    if any(each != stated[0] or each[0] != each[1] for each in stated):
        raise InputError("forecast", "low and high", "both in every hour, or in none")
    for row in rows:
        if row.low is not None and row.high is not None and not (row.low <= row.rate_rps <= row.high):
            raise InputError(f"forecast (hour {row.hour})", [row.low, row.rate_rps, row.high], "low <= rate_rps <= high")
