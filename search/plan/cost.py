"""The ways to rent a fleet for a week, and what each costs: whole instances of one offer, by kind of price.

A static fleet is that of the busiest hour, all week. A scheduled one follows the demand by the clock. A mixed one is scheduled
and pays for each unit the cheapest of reserved (all week, whether it runs or not), on demand and, for as many as are trusted
to it, spot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.plan.document import Option, OptionName
from search.plan.fleet import Unit, needed, units_of
from search.plan.request import WEEK_H, PlanRequest
from search.plan.schedule import Levels, always, scheduled
from simulator.cli import HOURS_A_MONTH
from simulator.spec.prices import PriceBook, Term

Floats = NDArray[np.float64]
HOUR_S = 3600.0
Split = list[tuple[Term, int]]


@dataclass(frozen=True)
class Part:
    """Units of a fleet that are alike and on one kind of price: when they are on, and when they start."""

    term: Term
    count: int
    on: NDArray[np.bool_]
    starts: NDArray[np.bool_]


@dataclass(frozen=True)
class Way:
    """A way to rent before it is told in full: its parts on one unit, and dollars a week."""

    name: OptionName
    unit: Unit
    parts: tuple[Part, ...]
    start_h: float
    usd_per_week: float


def ways(request: PlanRequest, book: PriceBook, device: str, gpus_per_replica: int, rates: Floats, per_replica: float) -> list[Way]:
    """Returns the cheapest offer for each way to rent a fleet for rates[168], cheapest first; none where nothing is sold so."""
    best: dict[OptionName, Way] = {}
    for unit in units_of(book, device, gpus_per_replica, request.paid()):
        units = needed(rates, per_replica, request.fleet, unit)
        for way in _of_unit(request, unit, units):
            held = best.get(way.name)
            if held is None or _order(way) < _order(held):
                best[way.name] = way
    return sorted(best.values(), key=lambda way: (way.usd_per_week, way.name))


def _order(way: Way) -> tuple[float, int, str]:
    return way.usd_per_week, way.unit.gpus, way.unit.offer.name


def _of_unit(request: PlanRequest, unit: Unit, units: tuple[int, ...]) -> Iterator[Way]:
    static: dict[Term, OptionName] = {"on_demand": "static_on_demand", "reserved": "static_reserved"}
    if request.spot is not None and request.spot.max_share == 1:
        static["spot"] = "static_spot"
    for term, name in static.items():
        if unit.price(term) is not None and term in request.paid():
            yield _way(name, unit, always(units), _all_on(term))
    scaling = request.fleet.scaling
    if scaling is None:
        return
    levels = scheduled(units, scaling.min_up_h, scaling.start_up_s / HOUR_S)
    if unit.price("on_demand") is not None:
        yield _way("scheduled_on_demand", unit, levels, _all_on("on_demand"))
    if len(unit.usd_per_hour) > 1 or unit.price("on_demand") is None:
        share = request.spot.max_share if request.spot is not None else 0.0
        # The topmost of the peak's units: of what any other hour needs they are a smaller share.
        trusted = int(np.floor(share * max(units) + 1e-9))
        steady = max(units) - trusted
        yield from _mixed(unit, levels, steady)


def _all_on(term: Term) -> Callable[[int, float, int], Split]:
    return lambda place, hours, level: [(term, level)]


def _mixed(unit: Unit, levels: Levels, steady: int) -> Iterator[Way]:
    """Yields the fleet that pays for each unit the cheapest that it may; none where a unit may be paid for in no way."""
    prices = dict(unit.usd_per_hour)

    def choose(place: int, hours: float, level: int) -> Split:
        rent: dict[Term, float] = {term: price * (WEEK_H if term == "reserved" else hours) for term, price in prices.items()}
        sure = [term for term in rent if term != "spot"]
        below = min(max(steady - place, 0), level)
        chosen: Split = []
        if below:
            if not sure:
                return []
            chosen.append((min(sure, key=lambda term: rent[term]), below))
        if level > below:
            chosen.append((min(rent, key=lambda term: rent[term]), level - below))
        return chosen

    way = _way("scheduled_mixed", unit, levels, choose)
    if sum(part.count for part in way.parts) == int(levels.count.sum()):
        yield way


def _way(name: OptionName, unit: Unit, levels: Levels, choose: Callable[[int, float, int], Split]) -> Way:
    """Returns the way in which `choose(units below, hours billed, units)` says what each level is paid with."""
    parts, usd, place = [], 0.0, 0
    for level, (count, hours) in enumerate(zip(levels.count.tolist(), levels.hours().tolist(), strict=True)):
        for term, taken in choose(place, hours, count):
            fixed = term == "reserved"
            on = np.ones(WEEK_H, np.bool_) if fixed else levels.on[level]
            starts = np.zeros(WEEK_H, np.bool_) if fixed else levels.starts[level]
            parts.append(Part(term, taken, on, starts))
            price = unit.price(term)
            assert price is not None, "chosen from the unit's prices"
            usd += taken * price * (WEEK_H if fixed else hours)
        place += count
    return Way(name, unit, tuple(parts), levels.start_h, usd)


def told(way: Way, rates: Floats, static_usd: float | None) -> Option:
    """Returns a way to rent in full, hour by hour; `static_usd` is what the static fleet on demand costs a week."""
    unit = way.unit
    units, usd, hours, starts = np.zeros(WEEK_H, np.int64), np.zeros(WEEK_H), 0.0, 0
    kinds: dict[str, int] = {}
    for part in way.parts:
        price = unit.price(part.term) or 0.0
        units += part.count * part.on
        # A start is billed before it serves.
        early = np.roll(part.starts, -1) * way.start_h
        usd += part.count * price * (part.on + early)
        hours += part.count * float(part.on.sum() + early.sum())
        starts += part.count * int(part.starts.sum())
        kinds[part.term] = kinds.get(part.term, 0) + part.count
    replicas = units * unit.replicas
    return Option(
        name=way.name,
        instance=unit.offer.name,
        provider=unit.offer.provider,
        replicas_per_unit=unit.replicas,
        instances_per_unit=unit.instances,
        units=kinds,
        replicas_by_hour=tuple(replicas.tolist()),
        gpus_by_hour=tuple((units * unit.gpus).tolist()),
        usd_by_hour=tuple(usd.tolist()),
        peak_replicas=int(replicas.max()),
        peak_gpus=int(units.max()) * unit.gpus,
        gpu_hours_per_week=hours * unit.gpus,
        starts_per_week=starts,
        usd_per_week=way.usd_per_week,
        usd_per_month=way.usd_per_week / WEEK_H * HOURS_A_MONTH,
        usd_per_million_requests=way.usd_per_week / (float(rates.sum()) * HOUR_S) * 1e6,
        share_of_static=way.usd_per_week / static_usd if static_usd else None,
    )
