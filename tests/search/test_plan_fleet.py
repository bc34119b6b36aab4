"""Fleets by the hour: enough in every hour, whole instances, redundancy, and the cheapest week that rules allow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.plan.cost import told, ways
from search.plan.fleet import left, needed, units_of
from search.plan.request import Fleet, PlanRequest
from search.plan.schedule import always, scheduled
from simulator.spec.prices import PriceBook

BOOK = PriceBook.parse(
    {
        "date": "2026-11-01",
        "instances": [
            {
                "name": "one",
                "provider": "A",
                "device": "H100-SXM",
                "gpus": 1,
                "on_demand_usd_per_hour": 5.0,
                "reserved_usd_per_hour": 3.0,
                "spot_usd_per_hour": 2.0,
                "source": "s",
            },
            {"name": "eight", "provider": "B", "device": "H100-SXM", "gpus": 8, "on_demand_usd_per_hour": 30.0, "source": "s"},
        ],
        "sources": {"s": "made up for this test"},
    }
)
WEEK = st.lists(st.floats(0, 200), min_size=168, max_size=168).map(np.array) | st.tuples(
    st.lists(st.floats(0, 200), min_size=24, max_size=24), st.floats(0.1, 1)
).map(lambda day: np.array([*day[0] * 5, *(rate * day[1] for rate in day[0] * 2)]))
UNITS = st.lists(st.integers(1, 6), min_size=168, max_size=168).map(tuple) | st.lists(
    st.sampled_from([1, 1, 1, 1, 4]), min_size=168, max_size=168
).map(tuple)
RULES = st.builds(
    lambda headroom, lost, zones: Fleet.parse(
        {"headroom": headroom, "survives": lost, **({"zones": zones} if lost == "zone" else {})}
    ),
    st.floats(0, 1),
    st.sampled_from(["nothing", "replica", "instance", "zone"]),
    st.integers(2, 5),
)


def request(**fields: Any) -> PlanRequest:
    """Returns a request whose fleet scales by the clock."""
    base = {
        "slo": {"ttft_p99_s": 2.0},
        "prices": "cloud-2026-11",
        "deployments": [{"model": "meta-llama/Llama-3.1-8B", "device": "H100-SXM"}],
        "demand": {"preset": "chat", "mean_rps": 10},
        "fleet": {"scaling": {"start_up_s": 600, "min_up_h": 3}},
    }
    return PlanRequest.parse({**base, **fields})


@given(WEEK, st.floats(0.5, 20), RULES, st.sampled_from([1, 2, 4]))
def test_every_hour_holds_its_demand_and_headroom_after_the_loss(rates: Any, capacity: float, rules: Fleet, gpus: int) -> None:
    for unit in units_of(BOOK, "H100-SXM", gpus, ("on_demand",)):
        for rate, units in zip(rates, needed(rates, capacity, rules, unit), strict=True):
            serving = left(units, rules, unit.replicas)
            assert serving * capacity >= rate * (1 + rules.headroom) * (1 - 1e-8)
            assert serving >= 1


@given(WEEK, st.floats(0.5, 20), st.integers(2, 5))
def test_redundancy_never_takes_less(rates: Any, capacity: float, zones: int) -> None:
    for unit in units_of(BOOK, "H100-SXM", 1, ("on_demand",)):
        plain = np.array(needed(rates, capacity, Fleet(), unit))
        replica = np.array(needed(rates, capacity, Fleet(survives="replica"), unit))
        instance = np.array(needed(rates, capacity, Fleet(survives="instance"), unit))
        zone = np.array(needed(rates, capacity, Fleet(survives="zone", zones=zones), unit))
        assert (plain <= replica).all()
        assert (replica <= instance).all()
        assert (instance <= zone).all()


def test_zones_are_as_even_as_whole_units_go() -> None:
    unit = units_of(BOOK, "H100-SXM", 1, ("on_demand",))[0]
    rules = Fleet(survives="zone", zones=3)
    # Four of six are left when one zone of two is lost; five would leave three.
    assert needed(np.array([40.0]), 10.0, rules, unit) == (6,)
    assert left(6, rules, 1) == 4
    assert left(5, rules, 1) == 3


def test_units_are_whole_instances_and_single_gpus_where_the_book_says_so() -> None:
    one, eight = units_of(BOOK, "H100-SXM", 1, ("on_demand", "reserved"))
    assert (one.replicas, one.price("reserved")) == (1, 3.0)
    assert (eight.replicas, eight.gpus, eight.price("on_demand"), eight.price("reserved")) == (8, 8, 30.0, None)
    (only,) = units_of(BOOK, "H100-SXM", 2, ("on_demand",))
    assert (only.offer.name, only.replicas) == ("eight", 4)
    assert needed(np.array([45.0]), 10.0, Fleet(), only) == (2,)
    loose = BOOK.model_copy(update={"packing": "per_gpu"})
    assert {unit.price("on_demand") for unit in units_of(loose, "H100-SXM", 2, ("on_demand",))} == {10.0, 7.5}
    both = units_of(BOOK, "H100-SXM", 16, ("on_demand",))
    assert [(unit.replicas, unit.instances, unit.price("on_demand")) for unit in both] == [(1, 2, 60.0)]


def runs(on: Any) -> list[int]:
    """Returns how long each stretch of hours is, around the week."""
    if on.all():
        return [len(on)]
    begin = int(np.argmin(on))
    words = "".join("x" if hour else " " for hour in np.roll(on, -begin)).split()
    return [len(word) for word in words]


@given(UNITS, st.integers(1, 30), st.floats(0, 5))
def test_a_schedule_serves_what_is_needed_and_keeps_its_rules(units: tuple[int, ...], min_up: int, start_h: float) -> None:
    levels = scheduled(units, min_up, start_h)
    assert (levels.count @ levels.on >= np.array(units)).all()
    assert int(levels.count.sum()) == max(units)
    assert (levels.hours() <= 168 + 1e-9).all()
    assert all(length >= min(min_up, 168) for on in levels.on for length in runs(on))
    assert levels.count @ levels.hours() <= always(units).count @ always(units).hours() + 1e-6


@given(UNITS, st.floats(0, 5))
def test_without_a_least_time_up_a_gap_costs_its_hours_or_a_start(units: tuple[int, ...], start_h: float) -> None:
    levels = scheduled(units, 1, start_h)
    for level, hours in zip(np.unique(units), levels.hours(), strict=True):
        on = np.array(units) >= level
        gaps = [] if on.all() else runs(~on)
        assert hours == pytest.approx(on.sum() + sum(min(gap, start_h) for gap in gaps))


@given(UNITS, st.integers(1, 12), st.floats(0, 5))
def test_a_unit_that_is_needed_longer_is_never_cheaper(units: tuple[int, ...], min_up: int, start_h: float) -> None:
    more = tuple(max(units[hour], units[hour - 1]) for hour in range(168))
    less, longer = scheduled(units, min_up, start_h), scheduled(more, min_up, start_h)
    assert less.count @ less.hours() <= longer.count @ longer.hours() + 1e-6


@given(WEEK, st.floats(0.5, 20), st.floats(1, 3), st.floats(0.05, 1))
def test_scheduled_is_no_dearer_than_static_mixed_no_dearer_than_scheduled_and_growth_never_cheaper(
    rates: Any, capacity: float, growth: float, share: float
) -> None:
    asked = request(spot={"max_share": share})

    def cost(times: float) -> dict[str, float]:
        return {way.name: way.usd_per_week for way in ways(asked, BOOK, "H100-SXM", 1, rates * times, capacity)}

    now, then = cost(1.0), cost(growth)
    assert now["scheduled_on_demand"] <= now["static_on_demand"] + 1e-6
    assert all(now[name] <= then[name] + 1e-6 for name in now)
    book = BOOK.model_copy(update={"instances": BOOK.instances[:1]})
    alone = {way.name: way.usd_per_week for way in ways(asked, book, "H100-SXM", 1, rates, capacity)}
    assert alone["scheduled_mixed"] <= alone["scheduled_on_demand"] + 1e-6
    assert alone["scheduled_mixed"] <= alone["static_reserved"] + 1e-6


def test_the_base_is_reserved_the_rest_on_demand_and_spot_only_as_far_as_it_is_trusted() -> None:
    rates = np.array([10.0] * 24 * 6 + [100.0] * 24)
    book = BOOK.model_copy(update={"instances": BOOK.instances[:1]})

    def mixed(**fields: Any) -> Any:
        return next(way for way in ways(request(**fields), book, "H100-SXM", 1, rates, 10.0) if way.name == "scheduled_mixed")

    def count(way: Any) -> dict[str, int]:
        return {part.term: part.count for part in way.parts}

    assert count(mixed()) == {"reserved": 1, "on_demand": 9}
    assert count(mixed(spot={"max_share": 0.5})) == {"reserved": 1, "on_demand": 4, "spot": 5}
    option = told(mixed(), rates, None)
    assert option.replicas_by_hour == (1,) * 144 + (10,) * 24
    assert sum(option.usd_by_hour) == pytest.approx(option.usd_per_week)
    # A day of nine on demand, each with ten minutes to start, and one reserved all week.
    assert option.usd_per_week == pytest.approx(168 * 3 + 9 * (24 + 1 / 6) * 5)
    assert option.starts_per_week == 9


def test_spot_is_never_paid_unasked_and_nowhere_where_the_book_has_none() -> None:
    rates = np.full(168, 50.0)
    assert all(part.term != "spot" for way in ways(request(), BOOK, "H100-SXM", 1, rates, 10.0) for part in way.parts)
    asked = request(spot={"max_share": 1.0})
    dear = BOOK.model_copy(update={"instances": BOOK.instances[1:]})
    assert all(part.term != "spot" for way in ways(asked, dear, "H100-SXM", 1, rates, 10.0) for part in way.parts)
    assert ways(asked, BOOK, "H100-SXM", 1, rates, 10.0)[0].name in ("static_spot", "scheduled_mixed")
    assert ways(asked, BOOK, "L40S", 1, rates, 10.0) == []


@given(WEEK.filter(lambda rates: rates.sum() > 1), st.floats(0.5, 20), st.floats(0.1, 1))
def test_hours_add_up_to_the_week_and_without_spot_its_share_alone_is_gone(rates: Any, capacity: float, share: float) -> None:
    for way in ways(request(spot={"max_share": share}), BOOK, "H100-SXM", 1, rates, capacity):
        option = told(way, rates, None)
        assert sum(option.usd_by_hour) == pytest.approx(option.usd_per_week)
        steady = sum((part.count * part.on for part in way.parts if part.term != "spot"), np.zeros(168))
        units = np.array(needed(rates, capacity, Fleet(), way.unit))
        assert (steady >= (1 - share) * units - 1e-6).all() or way.name == "static_spot"
