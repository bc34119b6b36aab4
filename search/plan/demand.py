"""Demand: requests a second in each of the 168 hours of a week.

Hours count from the beginning of the week and know no local time, so that no clock is ever put forward or back: hour 0 is
Monday 00:00 UTC for a preset (whose shapes are in UTC), the hour of the first request for a trace, and what its table says
for a forecast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from search.plan.request import DAY_H, MEDIAN, WEEK_H, Demand
from simulator import catalog
from simulator.draw.recorded import load
from simulator.errors import InputError

Floats = NDArray[np.float64]
HOUR_S = 3600.0
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True)
class Week:
    """rate_rps[168] as planned for, and `now_rps`[168] without growth and uncertainty; where the shape is from, and notes."""

    rate_rps: Floats
    now_rps: Floats
    calendar: bool
    source: str
    notes: tuple[str, ...]

    def label(self, hour: int) -> str:
        """Returns an hour for people: `Wed 14:00 UTC` where the week has days by name, else `day 3, hour 14`."""
        day, of_day = divmod(hour, DAY_H)
        return f"{DAYS[day]} {of_day:02d}:00 UTC" if self.calendar else f"day {day + 1}, hour {of_day}"


def week_of(demand: Demand) -> Week:
    """Returns the planned week; raises InputError for a preset without a daily shape or a trace shorter than a day."""
    low: Floats | None = None
    high: Floats | None = None
    if demand.preset is not None:
        now, source, notes = _of_preset(demand.preset)
    elif demand.trace is not None:
        now, source, notes = _of_trace(demand.trace, demand.percentile, demand.interval is None)
    else:
        assert demand.forecast is not None, "Demand has one shape"
        rows = sorted(demand.forecast, key=lambda row: row.hour)
        now = _week([row.rate_rps for row in rows])
        source, notes = "forecast", ["a day of 24 hours stands for each of the week"] if len(rows) == DAY_H else []
        if rows[0].high is not None:
            low, high = _week([row.low or 0.0 for row in rows]), _week([row.high or 0.0 for row in rows])
    scale = _scale(demand, now)
    now = now * scale
    planned = now * growth(demand)
    if demand.interval is not None:
        if demand.interval.high is not None and demand.interval.low is not None:
            low, high = planned * demand.interval.low, planned * demand.interval.high
        else:
            assert low is not None and high is not None, "asked for by Demand"
            low, high = low * scale * growth(demand), high * scale * growth(demand)
        planned = _at(planned, low, high, demand.interval.level, demand.percentile)
    return Week(planned, now, demand.preset is not None, source, tuple(notes))


def growth(demand: Demand) -> float:
    """Returns the factor by which the demand has grown when the plan's months are over."""
    return float((1 + demand.growth_per_month) ** demand.months)


def busiest_rows(trace: str, hour: int) -> tuple[int, int, float]:
    """Returns the first row, the row after the last, and the start in seconds, of the fullest of a trace's hours that stand
    for an hour of the week."""
    clock = _clock(trace)
    hours, repeats = _whole_hours(clock)
    starts = [each for each in range(hours) if each % repeats == hour % repeats]
    edges = [(np.searchsorted(clock, each * HOUR_S), np.searchsorted(clock, (each + 1) * HOUR_S)) for each in starts]
    best = max(range(len(starts)), key=lambda place: int(edges[place][1] - edges[place][0]))
    return int(edges[best][0]), int(edges[best][1]), float(starts[best] * HOUR_S)


def _of_preset(name: str) -> tuple[Floats, str, list[str]]:
    preset = catalog.preset(name, "demand.preset")
    if preset.diurnal is None:
        shaped = [each for each in catalog.names("workloads") if catalog.preset(each).diurnal is not None]
        raise InputError("demand.preset", name, f"a preset with a daily shape: {', '.join(shaped)}")
    shape = [*preset.diurnal.weekday_utc * 5, *preset.diurnal.weekend_utc * 2]
    told = " ".join(preset.sources.get("diurnal", "").split())
    return np.array(shape), f"preset {name}", [f"daily shape of {name}: {told}"] if told else []


def _of_trace(path: str, percentile: float, over_weeks: bool) -> tuple[Floats, str, list[str]]:
    clock = _clock(path)
    hours, repeats = _whole_hours(clock)
    counts = np.bincount((clock // HOUR_S).astype(np.int64), minlength=hours)[:hours]
    if repeats < WEEK_H:
        if over_weeks and percentile != MEDIAN:
            raise InputError("demand.percentile", percentile, "50 for a trace of less than two weeks, or an interval beside it")
        days = repeats // DAY_H
        note = f"the trace's {days} whole day{'s' if days > 1 else ''} stand for a week, one after another"
        return np.resize(counts, WEEK_H) / HOUR_S, "trace", [note]
    weeks = np.sort(counts.reshape(-1, WEEK_H), axis=0)
    if len(weeks) == 1 and over_weeks and percentile != MEDIAN:
        raise InputError("demand.percentile", percentile, "50 for a trace of less than two weeks, or an interval beside it")
    rank = math.ceil(len(weeks) * (percentile if over_weeks else MEDIAN) / 100) - 1
    note = f"hour by hour the p{percentile if over_weeks else MEDIAN:g} of the trace's {len(weeks)} weeks"
    return weeks[rank] / HOUR_S, "trace", [note] if len(weeks) > 1 else []


def _clock(path: str) -> Floats:
    """Returns the arrivals of a trace in seconds from the first one."""
    arrivals = load(path).arrival_s
    if arrivals is None or not len(arrivals):
        raise InputError("demand.trace", path, "a trace with arrival times")
    clock: Floats = arrivals - arrivals[0]
    return clock


def _whole_hours(clock: Floats) -> tuple[int, int]:
    """Returns how many hours of a trace count, whole days or weeks, and after how many of them the week repeats."""
    # A day is whole to within its last minutes, since nobody's last request is the last second's.
    hours = round(float(clock[-1]) / HOUR_S)
    if hours < DAY_H:
        allowed = "a trace of 24 hours or more; for a shorter one use a preset or a forecast as the demand, and it as the workload"
        raise InputError("demand.trace", f"{float(clock[-1]) / HOUR_S:.3g} hours", allowed)
    if hours < WEEK_H:
        days = hours // DAY_H * DAY_H
        return days, days
    return hours // WEEK_H * WEEK_H, WEEK_H


def _week(day_or_week: list[float]) -> Floats:
    return np.resize(np.array(day_or_week, np.float64), WEEK_H)


def _scale(demand: Demand, week: Floats) -> float:
    if demand.mean_rps is not None:
        return demand.mean_rps / float(week.mean())
    return demand.peak_rps / float(week.max()) if demand.peak_rps is not None else 1.0


def _at(middle: Floats, low: Floats, high: Floats, level: float, percentile: float) -> Floats:
    """Returns a percentile of the demand: a lognormal on either side of the median, with the interval's ends."""
    z = NormalDist().inv_cdf(percentile / 100) / NormalDist().inv_cdf((1 + level) / 2)
    end = high if z >= 0 else low
    share = np.divide(end, middle, out=np.ones_like(middle), where=(middle > 0) & (end > 0))
    found: Floats = middle * share ** abs(z)
    return found
