"""Capacity: the interval and what it promises, the bounds that end it, with and without a curve, at rates and in users."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from search.capacity import FRACTIONS, Capacity, _estimate, measure_capacity, traffic_for
from search.fidelity import FINAL, RESCORE, SCREEN, Fidelity
from search.predict import predict
from search.probe import keeps, terms_of, worst
from search.root import BACKLOG
from simulator.errors import Infeasible
from simulator.resolve import resolve
from simulator.run import Prepared, prepare, saturated_rate, simulate
from simulator.spec.deployment import Deployment
from simulator.spec.slo import Slo
from simulator.spec.workload import Workload

SMALL = Fidelity(requests=2_000, seeds=1, tolerance=0.01, spread=0.1, latency_spread=0.2)
LONGER = Fidelity(requests=5_000, seeds=1, tolerance=0.01, spread=0.1, latency_spread=0.2)
SEVERAL = Fidelity(requests=2_000, seeds=4, tolerance=0.01, spread=0.1, latency_spread=0.2)
CHAT = Workload.parse({"preset": "chat"})
SLO = {"ttft_p99_s": 2.0, "itl_p99_s": 0.2}


@cache
def prepared(device: str = "H100-SXM", replicas: int = 1, **knobs: Any) -> Prepared:
    """Returns a deployment of an 8B model, its times from the roofline."""
    chosen = {"model": "meta-llama/Llama-3.1-8B", "device": device, "replicas": replicas, "max_model_len": 16384, **knobs}
    return prepare(resolve(Deployment.parse(chosen)), [{"source": "roofline"}])


def capacity(
    slo: dict[str, float], fidelity: Fidelity = SMALL, seed: int = 0, fractions: tuple[float, ...] = FRACTIONS, **knobs: Any
) -> Capacity:
    """Returns the capacity of a deployment for chat."""
    return measure_capacity(prepared(**knobs), CHAT, Slo.parse(slo), fidelity, seed, fractions=fractions)


# The interval


def test_the_interval_holds_the_capacity_of_a_run_twice_as_long_95_times_of_a_hundred() -> None:
    rng = np.random.default_rng(1)
    runs = 20.0 * np.exp(0.01 * rng.standard_normal((4_000, 4)))
    checks = 20.0 * np.exp(0.01 / math.sqrt(2) * rng.standard_normal(4_000))
    found = [_estimate(list(row), FINAL) for row in runs]
    held = np.mean([e.low <= check <= e.high for e, check in zip(found, checks, strict=True)])
    assert 0.94 < held < 0.96
    assert np.mean([e.low <= 20.0 <= e.high for e in found]) > 0.97
    assert found[0].level == 0.95


def test_seeds_that_agree_are_known_to_the_tolerance_only() -> None:
    found = _estimate([20.0] * 4, FINAL)
    assert (found.high - found.low) / found.value == pytest.approx(FINAL.tolerance, rel=1e-3)


def test_seeds_that_disagree_wildly_leave_a_rate_above_zero() -> None:
    found = _estimate([1.0, 50.0], FINAL)
    assert 0 < found.low < found.value < found.high
    two = Fidelity(requests=1_000, seeds=2, tolerance=0.01, spread=0.1, latency_spread=0.2)
    bursty = Workload.parse({"preset": "chat", "arrival": {"process": "gamma", "cv": 6.0}})
    wild = measure_capacity(prepared(), bursty, Slo.parse(SLO), two)
    assert wild.saturated_rps is not None and wild.safe_rps >= 0.01 * wild.saturated_rps


def test_one_seed_is_known_to_the_spread_of_its_fidelity() -> None:
    found = capacity(SLO)
    assert found.rate_rps.high == pytest.approx(found.rate_rps.value * 1.1)
    assert found.rate_rps.low == pytest.approx(found.rate_rps.value * 0.9)


def test_neighbouring_seeds_share_no_run() -> None:
    drawn = [seed for first in range(100) for seed in FINAL.seeds_from(first)]
    assert len(set(drawn)) == len(drawn) == 100 * FINAL.seeds
    one, other = (traffic_for(CHAT, 50, seed) for seed in FINAL.seeds_from(0)[:2])
    assert not np.array_equal(one.arrival_s, other.arrival_s)


@pytest.mark.parametrize("fidelity", [SCREEN, RESCORE, FINAL])
def test_a_fleets_runs_grow_with_its_replicas_and_keep_enough_for_each(fidelity: Fidelity) -> None:
    counts = [fidelity.count(replicas) for replicas in range(1, 200)]
    assert counts[0] == fidelity.requests
    assert all(less <= more for less, more in pairwise(counts))
    assert all(count >= replicas * fidelity.requests / 4 for replicas, count in enumerate(counts, 1))
    assert fidelity.count(64) <= max(3_200_000, 64_000)


# What is measured


def test_the_slo_holds_at_the_safe_rate_and_fails_beyond_the_capacity() -> None:
    found = capacity(SLO)
    slo, traffic = Slo.parse(SLO), traffic_for(CHAT, SMALL.requests, 0)
    assert worst(simulate(prepared(), traffic, found.safe_rps), slo)[0] <= 0
    assert worst(simulate(prepared(), traffic, found.rate_rps.value * 1.02), slo)[0] > 0
    assert found.safe_rps == pytest.approx(found.rate_rps.value, rel=SMALL.tolerance)


def test_the_curve_rises_to_the_saturated_rate_and_holds_the_safe_rate() -> None:
    found = capacity(SLO, SEVERAL)
    rates = [rate for rate, _ in found.runs]
    assert rates == sorted(rates)
    assert found.safe_rps in rates
    assert found.safe_rps <= found.rate_rps.low
    assert found.saturated_rps is not None and rates[0] == pytest.approx(0.1 * found.saturated_rps)
    assert all(metrics.slo_met for rate, metrics in found.runs if rate <= found.safe_rps)
    assert all(metrics.usd_per_hour is None for _, metrics in found.runs)
    tails = [metrics.ttft_s.p99 for _, metrics in found.runs]
    assert tails[0] is not None and tails[-1] is not None and tails[0] < tails[-1]
    assert (found.seeds, found.requests) == (4, 2_000)


def test_a_tighter_slo_never_has_more_capacity() -> None:
    found = [capacity({"ttft_p99_s": limit}).rate_rps.value for limit in (0.1, 0.5, 2.0, 8.0)]
    # Roots are known to their tolerance: two that lie closer may come out in either order.
    assert all(looser >= tighter * (1 - SMALL.tolerance) for tighter, looser in pairwise(found))
    assert found[0] < found[2]


@pytest.mark.parametrize(
    ("slo", "binding"),
    [
        ({"ttft_p99_s": 0.1, "itl_p99_s": 5.0}, "ttft_p99_s"),
        ({"ttft_p99_s": 50.0, "itl_p99_s": 0.03}, "itl_p99_s"),
        ({"ttft_p99_s": 1e5}, BACKLOG),
    ],
)
def test_what_binds_is_named(slo: dict[str, float], binding: str) -> None:
    assert capacity(slo).binding == binding


def test_without_a_slo_to_speak_of_the_backlog_ends_the_range_near_the_saturated_rate() -> None:
    long = Fidelity(requests=20_000, seeds=1, tolerance=0.01, spread=0.1, latency_spread=0.2)
    found = capacity({"e2e_p99_s": 1e6}, long)
    assert found.binding == BACKLOG
    assert found.saturated_rps is not None and 0.85 < found.rate_rps.value / found.saturated_rps < 1.1


def test_a_fleet_has_about_the_capacity_of_its_replicas() -> None:
    one, four = capacity(SLO), capacity(SLO, replicas=4)
    assert four.requests == 4 * one.requests
    assert one.saturated_rps is not None and four.saturated_rps == pytest.approx(4 * one.saturated_rps)
    assert four.rate_rps.value == pytest.approx(4 * one.rate_rps.value, rel=0.1)


def test_a_seed_gives_the_same_capacity_and_another_seed_another() -> None:
    assert capacity(SLO, SEVERAL, seed=3) == capacity(SLO, SEVERAL, seed=3)
    assert capacity(SLO, seed=3).rate_rps != capacity(SLO, seed=4).rate_rps


def test_a_trickle_that_is_too_slow_is_infeasible_in_one_line() -> None:
    with pytest.raises(Infeasible, match=r"^ttft_p99_s is 0\.\d+ s even at 0\.\d+ requests a second, over its limit of 1e-05 s$"):
        capacity({"ttft_p99_s": 1e-5})


def test_requests_that_are_too_long_are_infeasible_with_their_number() -> None:
    with pytest.raises(Infeasible, match=r"requests are longer than max_model_len \(1,024\) or than the KV pool"):
        capacity(SLO, max_model_len=1024)


def test_a_slo_that_nothing_breaks_ends_instead_of_looking_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.probe.terms_of", lambda outcome, slo, closed: {"ttft_p99_s": -1.0})
    for fractions in (FRACTIONS, ()):
        with pytest.raises(Infeasible, match="no load breaks the SLO"):
            capacity(SLO, fractions=fractions)


# Without a curve, and what the price list foretells


@pytest.mark.parametrize(
    ("slo", "knobs"),
    [
        (SLO, {}),
        (SLO, {"device": "L40S"}),
        (SLO, {"device": "A100-80G-SXM", "tensor_parallel_size": 2}),
        ({"tpot_p99_s": 0.05}, {"device": "L40S"}),
        ({"e2e_p99_s": 15.0}, {"device": "A100-80G-SXM", "max_num_seqs": 64}),
        ({"ttft_p50_s": 0.3, "tpot_mean_s": 0.05}, {"max_num_batched_tokens": 512}),
        ({"itl_p99_s": 0.1}, {"device": "L40S", "replicas": 2}),
    ],
)
def test_the_capacity_is_that_of_bisection_with_and_without_a_curve(slo: dict[str, float], knobs: dict[str, Any]) -> None:
    found, quick = capacity(slo, LONGER, **knobs), capacity(slo, LONGER, fractions=(), **knobs)
    assert found.saturated_rps is not None and quick.saturated_rps is None
    true = bisected(slo, found.saturated_rps, **knobs)
    assert found.rate_rps.value == pytest.approx(true, rel=LONGER.tolerance)
    assert quick.rate_rps.value == pytest.approx(true, rel=LONGER.tolerance)
    assert quick.binding == found.binding


def bisected(slo: dict[str, float], saturated_rps: float, **knobs: Any) -> float:
    """Returns the end of the first range of rates within the Slo, found step by step."""
    deployment, bounds = prepared(**knobs), Slo.parse(slo)
    traffic = traffic_for(CHAT, LONGER.count(deployment.deployment.replicas), 0)

    def holds(rate: float) -> bool:
        return worst(simulate(deployment, traffic, rate), bounds)[0] <= 0

    rates = [fraction * saturated_rps for fraction in (*FRACTIONS, 1.0, 1.1, 1.3)]
    good, bad = next((low, high) for low, high in pairwise([0.01 * saturated_rps, *rates]) if not holds(high))
    while bad / good > 1.0005:
        middle = math.sqrt(good * bad)
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return good


def test_without_a_curve_there_is_the_safe_rate_alone_and_its_run_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[float] = []

    def noted(deployment: Prepared, traffic: Any, rate: float) -> Any:
        ran.append(rate)
        return simulate(deployment, traffic, rate)

    monkeypatch.setattr("search.probe.simulate", noted)
    found = capacity(SLO, fractions=())
    assert [rate for rate, _ in found.runs] == [found.safe_rps]
    assert found.runs[0][1].slo_met
    assert len(ran) == len(set(ran)) <= 7
    assert found.safe_rps in ran


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"max_num_batched_tokens": 512},
        {"device": "L40S"},
        {"device": "A100-80G-SXM", "max_num_seqs": 64},
        {"device": "A100-80G-SXM", "tensor_parallel_size": 2},
        {"device": "L40S", "scheduler": "sarathi_serve"},
    ],
)
def test_saturation_is_foretold_within_a_fifth(knobs: dict[str, Any]) -> None:
    traffic = traffic_for(CHAT, 8_000, 0)
    measured = saturated_rate(prepared(**knobs), traffic)
    assert predict(prepared(**knobs), traffic, 3).rate_rps == pytest.approx(3 * measured, rel=0.2)


def test_a_fleet_keeps_the_slo_just_where_its_worst_bound_holds() -> None:
    found, slo = capacity(SLO, fractions=()), Slo.parse(SLO)
    traffic = traffic_for(CHAT, SMALL.requests, 0)
    for rate in (0.5 * found.safe_rps, found.safe_rps, 1.03 * found.rate_rps.value, 3 * found.rate_rps.value):
        assert keeps(prepared(), slo, traffic, rate, 1) == (worst(simulate(prepared(), traffic, rate), slo)[0] <= 0)


def test_searches_on_threads_find_what_one_thread_finds() -> None:
    from concurrent.futures import ThreadPoolExecutor

    seeds = range(8)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: capacity(SLO, SMALL, seed, ()), seeds))
    assert together == [capacity(SLO, SMALL, seed, ()) for seed in seeds]


# In a closed loop


USERS = Workload.parse({"preset": "chat", "users": 1, "think_time_s": {"exponential": {"mean": 10.0}}})


def users(slo: dict[str, float], fractions: tuple[float, ...] = (), fidelity: Fidelity = SMALL) -> Capacity:
    """Returns the most users who wait ten seconds on average between an answer and their next request."""
    return measure_capacity(prepared("L40S"), USERS, Slo.parse(slo), fidelity, fractions=fractions)


def test_a_closed_loops_capacity_is_the_most_users_within_the_slo() -> None:
    slo = {"ttft_p99_s": 2.0, "tpot_p99_s": 0.1}
    found, traffic = users(slo), traffic_for(USERS, SMALL.requests, 0)
    assert found.users is not None and found.users.value == round(found.users.value)
    most = int(found.users.value)
    assert worst_of_users(traffic, most, slo) <= 0 < worst_of_users(traffic, math.ceil(most * 1.02), slo)
    ran = simulate(prepared("L40S"), traffic.with_users(most))
    assert found.rate_rps.value == pytest.approx(len(traffic) / (np.nanmax(ran.finished_at) - ran.arrived_at.min()))
    assert found.saturated_rps is None and found.binding in slo


def worst_of_users(traffic: Any, count: int, slo: dict[str, float]) -> float:
    return max(terms_of(simulate(prepared("L40S"), traffic.with_users(count)), Slo.parse(slo), closed=True).values())


def test_more_users_complete_more_and_a_looser_slo_has_room_for_more() -> None:
    tight, loose = users({"tpot_p99_s": 0.08}, (0.1, 0.3, 0.6)), users({"tpot_p99_s": 0.1})
    assert tight.users is not None and loose.users is not None and tight.users.value < loose.users.value
    rates = [rate for rate, _ in tight.runs]
    assert rates == sorted(rates) and len(rates) == 4
    assert tight.safe_rps in rates


def test_several_seeds_give_an_interval_of_users() -> None:
    found = users({"ttft_p99_s": 2.0, "tpot_p99_s": 0.1}, fidelity=SEVERAL)
    assert found.users is not None and found.users.low < found.users.value < found.users.high
    assert found.rate_rps.low / found.rate_rps.value == pytest.approx(found.users.low / found.users.value)


def test_one_user_who_waits_too_long_is_infeasible() -> None:
    with pytest.raises(Infeasible, match=r"^e2e_p99_s is .* even at 1 users, over its limit of 0\.001 s$"):
        users({"e2e_p99_s": 1e-3})


# Length of runs


def test_longer_runs_overstate_less() -> None:
    def mean(count: int) -> float:
        fidelity, slo = Fidelity(count, 1, 0.01, 0.1, 0.2), Slo.parse({"ttft_p99_s": 2.0})
        found = [measure_capacity(prepared(), CHAT, slo, fidelity, seed, fractions=()) for seed in range(4)]
        return sum(capacity.rate_rps.value for capacity in found) / 4

    assert 1.0 < mean(1_000) / mean(20_000) < 1.25


@pytest.mark.slow
def test_intervals_hold_what_longer_runs_find() -> None:
    long = Fidelity(requests=100_000, seeds=1, tolerance=0.002, spread=0.0, latency_spread=0.0)
    slo = Slo.parse(SLO)
    truth = np.mean([measure_capacity(prepared(), CHAT, slo, long, 500_000 + n, fractions=()).rate_rps.value for n in range(4)])
    short = Fidelity(requests=20_000, seeds=4, tolerance=0.004, spread=0.0, latency_spread=0.0)
    found = [measure_capacity(prepared(), CHAT, slo, short, seed, fractions=()).rate_rps for seed in range(20)]
    assert np.mean([e.low <= truth <= e.high for e in found]) >= 0.9
    assert np.mean([(e.high - e.low) / e.value for e in found]) < 0.15
