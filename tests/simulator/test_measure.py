"""Latencies, rates and verdicts, on runs small enough to count by hand; definitions in simulator/spec/metrics.py."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.measure import backlog_growth, excess, gap_distribution, good_requests, latencies, metrics, statistic
from simulator.run import Outcome
from simulator.spec.prices import Bill
from simulator.spec.slo import Bound, Slo
from tests.invariants.cases import Case, cases, play, prepared_for
from tests.invariants.scenarios import scenarios

LIGHT = scenarios("vllm_v1")["low load"]
BILL = Bill(instance="i", provider="p", instances=2, gpus_rented=2, usd_per_hour=7.2)


def outcome(rejected: tuple[bool, ...] = (False, False, False, False)) -> Outcome:
    """Returns four requests: three tokens, one token, two tokens after a stall, and one that a test may reject."""
    lost = np.array(rejected)

    def times(*values: float) -> np.ndarray:
        return np.where(lost, np.nan, values)

    gaps = [1.0, 3.0, 0.5, 0.25]
    return Outcome(
        arrived_at=np.array([10.0, 11.0, 12.0, 13.0]),
        prompt_tokens=np.array([100, 200, 300, 400]),
        output_tokens=np.array([3, 1, 2, 2]),
        first_scheduled_at=times(10.0, 11.5, 12.25, 13.0),
        first_token_at=times(10.5, 12.0, 13.0, 14.0),
        finished_at=times(14.5, 12.0, 13.5, 14.25),
        itl_max=np.array([3.0, 0.0, 0.5, 0.0 if lost[3] else 0.25]),
        preemptions=np.array([0, 0, 1, 0]),
        replica=np.where(lost, -1, np.array([0, 1, 0, 1])),
        rejected=lost,
        gap_count=np.array([1, 1, 1] if lost[3] else [1, 1, 1, 1]),
        gap_sum=np.sort(gaps[:3] if lost[3] else gaps),
        iterations=10,
        scheduled_requests=25,
        scheduled_tokens=1_500,
        sampled_tokens=6,
        busy_s=4.0,
        block_seconds=100.0,
        replicas=2,
        kv_blocks=50,
    )


LAST_REJECTED = (False, False, False, True)


def test_latencies_are_those_of_the_definitions() -> None:
    found = latencies(outcome(LAST_REJECTED))
    assert found["ttft_s"].tolist() == [0.5, 1.0, 1.0]
    assert found["queue_s"].tolist() == [0.0, 0.5, 0.25]
    assert found["e2e_s"].tolist() == [4.5, 1.0, 1.5]
    assert found["tpot_s"].tolist() == [2.0, 0.5], "one number a request with two tokens or more"
    assert found["itl_max_s"].tolist() == [3.0, 0.5]


def test_every_number_of_a_run() -> None:
    prepared = prepared_for(LIGHT)
    slo = Slo.parse({"ttft_p99_s": 1.0, "itl_max_s": 1.0})
    found = metrics(outcome(LAST_REJECTED), prepared, slo, BILL)
    assert (found.requests, found.rejected, found.single_token_requests) == (4, 1, 1)
    assert found.duration_s == 4.5, "from the first arrival to the last finish"
    assert found.request_throughput_rps == 3 / 4.5
    assert found.output_token_throughput_tps == 6 / 4.5
    assert found.total_token_throughput_tps == 606 / 4.5
    assert found.goodput_rps == 2 / 4.5, "the first request stalls for 3 s"
    assert found.slo_met is False, "a rejected request is the slowest of four"
    assert (found.mean_batch_size, found.preemptions, found.kv_utilization) == (2.5, 1, 0.5)
    assert found.itl_s.mean == 1.5 and found.itl_s.p50 == 1.0 and found.itl_s.max == 3.0
    assert found.gpus == 2
    assert found.mfu == pytest.approx(1_500 * 1e10 / (4.5 * 1e15 * 2))
    assert found.usd_per_hour == 7.2
    assert found.usd_per_million_output_tokens == pytest.approx(7.2 / 3600 * 4.5 / 6 * 1e6)
    assert found.usd_per_million_tokens == pytest.approx(7.2 / 3600 * 4.5 / 606 * 1e6)


def test_no_bill_no_dollars_and_no_slo_no_verdict() -> None:
    found = metrics(outcome(), prepared_for(LIGHT))
    assert found.usd_per_hour is found.usd_per_million_tokens is found.usd_per_million_output_tokens is None
    assert found.slo_met is found.goodput_rps is None
    no_peak = replace(prepared_for(LIGHT), price_list=replace(LIGHT.price_list, peak_flops_per_s=None))
    assert metrics(outcome(), no_peak).mfu is None


def test_a_run_that_rejects_everything_has_numbers_still() -> None:
    refused = play(replace(LIGHT, kv_blocks=1))[0]
    assert refused.rejected.all()
    found = metrics(refused, prepared_for(LIGHT), Slo.parse({"ttft_p50_s": 1.0}), BILL)
    assert found.ttft_s.mean is found.itl_s.p99 is found.e2e_s.max is None
    assert (found.duration_s, found.request_throughput_rps, found.goodput_rps) == (0, 0, 0)
    assert found.slo_met is False and found.usd_per_million_tokens is None
    found.model_dump_json()


def test_a_rejected_request_makes_a_bounded_mean_infinite() -> None:
    served, run = outcome((False,) * 4), outcome(LAST_REJECTED)
    assert 0 < statistic(served, Bound("ttft_mean_s", 1.0)) < math.inf
    assert statistic(run, Bound("ttft_mean_s", 1.0)) == statistic(run, Bound("itl_mean_s", 1.0)) == math.inf
    nobody = outcome((True,) * 4)
    empty = replace(nobody, gap_count=np.zeros(0, dtype=np.int64), gap_sum=np.zeros(0), itl_max=np.zeros(4))
    assert statistic(empty, Bound("ttft_mean_s", 1.0)) == statistic(empty, Bound("itl_mean_s", 1.0)) == math.inf


def test_latencies_that_nobody_has_break_no_bound() -> None:
    singles = play(scenarios("vllm_v1")["single tokens"])[0]
    assert statistic(singles, Bound("tpot_p99_s", 1.0)) == statistic(singles, Bound("itl_p99_s", 1.0)) == 0.0
    assert gap_distribution(singles).p99 is None
    assert excess(singles, Slo.parse({"tpot_p99_s": 1e-9})) == (-math.inf, "tpot_p99_s")
    assert good_requests(singles, Slo.parse({"tpot_p99_s": 1e-9, "itl_p99_s": 1e-9})) == len(singles.arrived_at)


def test_the_binding_term_is_the_one_that_is_farthest_out() -> None:
    run = outcome()
    over, term = excess(run, Slo.parse({"ttft_p99_s": 0.5, "e2e_p99_s": 1.5, "itl_p99_s": 30.0}))
    assert term == "e2e_p99_s" and over == pytest.approx(math.log(4.5 / 1.5))
    assert excess(run, Slo.parse({"e2e_p99_s": 4.5}))[0] == 0.0, "at the limit is within it"
    assert excess(outcome(LAST_REJECTED), Slo.parse({"ttft_p99_s": 100.0})) == (math.inf, "ttft_p99_s")


@given(cases(), st.floats(0.05, 20))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_the_verdict_is_that_of_every_bound(case: Case, scale: float) -> None:
    run = play(case)[0]
    slo = Slo.parse({"ttft_p90_s": 0.5 * scale, "itl_p99_s": 0.03 * scale, "e2e_mean_s": scale})
    verdict = all(statistic(run, bound) <= bound.limit_s for bound in slo.bounds)
    assert metrics(run, prepared_for(case), slo).slo_met == verdict


# The backlog


def test_backlog_grows_by_what_the_second_half_leaves_unserved() -> None:
    run = outcome()
    # Two have arrived and none has finished at 11 s; four have arrived and one has finished at 13 s.
    assert backlog_growth(run) == (3 - 2) / 2


@pytest.mark.parametrize(("apart_s", "grows"), [(1.0, False), (1e-4, True)])
def test_backlog_tells_overload_from_load(apart_s: float, grows: bool) -> None:
    arrivals = np.arange(len(LIGHT.traffic), dtype=np.float64) * apart_s
    run = play(replace(LIGHT, traffic=replace(LIGHT.traffic, arrival_s=arrivals)))[0]
    assert (backlog_growth(run) > 0.2) == grows
