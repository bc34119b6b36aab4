"""Where the first of several terms breaks: the root, its bracket, the way down to it, and how few runs it takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.root import Terms, downwards, holds, narrow, worst
from simulator.errors import InputError


def counted(function: Callable[[float], Mapping[str, float]], calls: list[float]) -> Callable[[float], Terms]:
    """Returns the function, once a load, and notes each load."""

    @cache
    def ask(load: float) -> Terms:
        calls.append(load)
        return function(load)

    return ask


@given(st.floats(1.0, 100.0), st.floats(0.2, 30.0), st.sampled_from([0.02, 0.004]), st.floats(0.02, 0.9), st.floats(1.02, 4.0))
def test_a_root_of_a_smooth_excess_is_found_in_few_runs(
    true: float, power: float, tolerance: float, low: float, high: float
) -> None:
    calls: list[float] = []
    over = counted(lambda load: {"ttft_p99_s": power * math.log(load / true)}, calls)
    found = narrow(over, low * true, high * true, tolerance)
    assert true * (1 - tolerance) * 0.999 <= found.good <= true
    assert abs(found.value / true - 1) < 0.2 * tolerance
    assert len(calls) <= 5
    assert found.binding == "ttft_p99_s"


@given(st.floats(0.3, 0.9), st.floats(0.3, 0.9))
def test_the_lowest_of_two_roots_counts_and_is_named(one: float, other: float) -> None:
    def over(load: float) -> Terms:
        return {"itl_p99_s": 0.5 * math.log(load / one), "ttft_p99_s": 20 * math.log(load / other)}

    calls: list[float] = []
    found = narrow(counted(over, calls), 0.1, 1.0, 0.01)
    assert found.value == pytest.approx(min(one, other), rel=0.005)
    assert abs(one / other - 1) < 0.01 or found.binding == ("itl_p99_s" if one < other else "ttft_p99_s")
    assert len(calls) <= 7


@given(st.floats(0.1, 0.95))
def test_a_cliff_is_bracketed_by_bisection(cliff: float) -> None:
    found = narrow(lambda load: {"e2e_p99_s": -1.0 if load <= cliff else math.inf}, 0.05, 1.0, 0.01)
    assert cliff * 0.985 <= found.good <= cliff
    assert found.good <= found.value <= cliff / 0.985


@given(st.integers(1, 300), st.floats(0.3, 5.0))
def test_whole_loads_end_one_apart(most: int, power: float) -> None:
    asked: list[float] = []
    over = counted(lambda load: {"tpot_p99_s": power * math.log(load / (most + 0.5))}, asked)
    found = narrow(over, 1, 1000, 1e-4, whole=True)
    assert found.good == found.value == most
    assert all(load == round(load) for load in asked)


def test_a_root_needs_a_bracket() -> None:
    with pytest.raises(InputError, match=r"^rate: "):
        narrow(lambda load: {"ttft_p99_s": 1.0}, 1.0, 2.0, 0.01)


@given(st.floats(0.02, 0.95), st.floats(0.3, 20.0), st.sampled_from(["ttft_p99_s", "batch.e2e_p90_s", "itl_p99_s", "backlog"]))
def test_the_way_down_ends_at_a_load_that_holds(true: float, power: float, name: str) -> None:
    calls: list[float] = []
    over = counted(lambda load: {name: power * math.log(load / true)}, calls)
    steps = list(downwards(over, 1.0, 0.01, 0.01))
    assert all(lower < higher for higher, lower in pairwise([1.0, *steps]))
    assert holds(over(steps[-1])) and not any(holds(over(load)) for load in steps[:-1])
    assert len(calls) <= 12


def test_the_way_down_ends_at_the_least_load() -> None:
    assert list(downwards(lambda load: {"ttft_p99_s": math.inf}, 1.0, 0.01, 0.01)) == [0.01]
    slow = list(downwards(lambda load: {"ttft_p99_s": 0.5 + load}, 1.0, 0.01, 0.01))
    assert slow[-1] == 0.01 and len(slow) < 10
    assert list(downwards(lambda load: {"e2e_p99_s": 1.0}, 3.0, 1.0, 0.01, whole=True))[-1] == 1.0


def test_the_worst_term_is_the_largest() -> None:
    assert worst({"a": -1.0, "b": 0.5, "c": 0.25}) == (0.5, "b")
    assert holds({"a": -1.0, "b": 0.0}) and not holds({"a": -1.0, "b": 1e-12})
