"""Latencies, rates and verdicts, on runs small enough to count by hand; definitions in simulator/spec/metrics.py."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.measure import (
    PERCENTILES,
    backlog_growth,
    excess,
    excesses,
    gap_distribution,
    good_requests,
    latencies,
    metrics,
    nearest_rank,
    statistic,
)
from simulator.measure.ranks import counted
from simulator.outcome import Outcome
from simulator.resolve import resolve
from simulator.run import Prepared, prepare, simulate
from simulator.spec.deployment import Deployment
from simulator.spec.metrics import Distribution, Metrics
from simulator.spec.prices import Bill
from simulator.spec.slo import Bound, Slo
from simulator.traffic import Traffic

BILL = Bill(instance="i", provider="p", instances=2, gpus_rented=2, usd_per_hour=7.2)
LINEAR = [{"source": "linear", "base_s": 5e-3, "per_token_s": 2e-5, "per_kv_token_s": 1e-9}]
NOBODY = (False, False, False, False)
LAST = (False, False, False, True)
ALL = (True, True, True, True)


@cache
def prepared(stages: int = 1) -> Prepared:
    """Returns a deployment of round numbers: a GPU of 1e15 FLOP/s and 1e12 byte/s, tokens of 1e10 FLOPs."""
    fields = {"model": "meta-llama/Llama-3.1-8B", "device": "H200-SXM", "max_model_len": 4096, "replicas": 2}
    found = prepare(resolve(Deployment.parse(fields)), LINEAR)
    prices = replace(
        found.price_list,
        flops_per_token=1e10,
        peak_flops_per_s=1e15,
        weight_bytes=1e10,
        kv_bytes_per_token=1e6,
        peak_bytes_per_s=1e12 * stages,
    )
    deployment = found.deployment.model_copy(update={"pipeline_parallel_size": stages})
    return replace(found, price_list=prices, deployment=deployment)


def outcome(lost: tuple[bool, ...] = NOBODY, why: str = "rejected", **fields: Any) -> Outcome:
    """Returns four requests: three tokens, one token, two tokens after a stall, and one that a test may lose."""
    gone = np.array(lost)

    def times(*values: float) -> np.ndarray:
        return np.where(gone, np.nan, values)

    gaps = [1.0, 3.0, 0.5, 0.25]
    known: dict[str, Any] = {
        "arrived_at": np.array([10.0, 11.0, 12.0, 13.0]),
        "prompt_tokens": np.array([100, 200, 300, 400]),
        "output_tokens": np.array([3, 1, 2, 2]),
        "first_scheduled_at": times(10.0, 11.5, 12.25, 13.0),
        "first_token_at": times(10.5, 12.0, 13.0, 14.0),
        "finished_at": times(14.5, 12.0, 13.5, 14.25),
        "itl_max": np.where(gone, 0.0, [3.0, 0.0, 0.5, 0.25]),
        "preemptions": np.array([0, 0, 2, 0]),
        "replica": np.where(gone, -1, [0, 1, 0, 1]),
        "rejected": np.zeros(4, dtype=np.bool_),
        "gap_count": np.array([] if all(lost) else [1, 1, 1] if lost[3] else [1, 1, 1, 1], dtype=np.int64),
        "gap_sum": np.sort([] if all(lost) else gaps[:3] if lost[3] else gaps),
        "iterations": 10,
        "scheduled_requests": 25,
        "scheduled_tokens": 1_500,
        "sampled_tokens": 8,
        "busy_s": 4.0,
        "block_seconds": 100.0,
        "replicas": 2,
        "kv_blocks": 50,
        "produced_tokens": np.where(gone, 0, [3, 1, 2, 2]),
        "cached_tokens": np.array([0, 60, 0, 0]),
        "preempted_s": np.array([0.0, 0.0, 0.25, 0.0]),
        "bubble_s": np.array([0.5, 0.0, 0.25, 0.0]),
        "cancelled": np.zeros(4, dtype=np.bool_),
        "expired": np.zeros(4, dtype=np.bool_),
        "class_of": np.array([0, 1, 0, 1]),
        "class_names": ("chat", "batch"),
        "row": np.arange(4),
        "batch_sizes": np.array([0, 2, 1, 7]),
        "batch_tokens": np.array([0, 0, 9, 1]),
        "stage_busy_s": np.array([4.0]),
        "kv_peak_blocks": 40,
        "kv_tokens": 10_000,
        "stopped": False,
        "steps": None,
    }
    known[why] = gone
    return Outcome(**{**known, **fields})


def run_of(count: int = 300, rate: float = 40.0) -> Outcome:
    """Returns a simulated run."""
    rng = np.random.default_rng(5)
    prompts, outputs = rng.integers(1, 900, count), rng.integers(1, 60, count)
    return simulate(prepared(), Traffic(np.cumsum(rng.exponential(1 / rate, count)), prompts, outputs, 0 * prompts, rate))


# Ranks


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(0, 2))
def test_counted_numbers_have_the_distribution_of_their_list(counts: list[int], first: int) -> None:
    spelled = [first + place for place, count in enumerate(counts) for _ in range(count)]
    found = counted(np.array(counts), first)
    if not spelled:
        assert found.mean is found.p50 is found.max is None
        return
    assert found.mean == pytest.approx(sum(spelled) / len(spelled)) and found.max == max(spelled)
    assert [found.get(name) for name in PERCENTILES] == [
        sorted(spelled)[nearest_rank(len(spelled), share)] for share in PERCENTILES.values()
    ]


# One request


def test_latencies_are_those_of_the_definitions() -> None:
    found = latencies(outcome(LAST))
    assert found["ttft_s"].tolist() == [0.5, 1.0, 1.0]
    assert found["queue_s"].tolist() == [0.0, 0.5, 0.25]
    assert found["e2e_s"].tolist() == [4.5, 1.0, 1.5]
    assert found["tpot_s"].tolist() == [2.0, 0.5], "one number a request with two tokens or more"
    assert found["itl_max_s"].tolist() == [3.0, 0.5]
    assert found["prefill_s"].tolist() == [0.5, 0.5, 0.75]
    assert found["prefill_per_token_s"].tolist() == [0.005, 0.0025, 0.0025]
    assert found["decode_s"].tolist() == [4.0, 0.0, 0.5]
    assert found["preempted_s"].tolist() == [0.0, 0.0, 0.25]
    assert found["execution_s"].tolist() == [4.5, 0.5, 1.0], "but for the time in which it was preempted"
    assert found["bubble_s"].tolist() == [0.5, 0.0, 0.25]


def test_parts_add_up_to_the_whole() -> None:
    found = latencies(run_of())
    parts = found["queue_s"] + found["prefill_s"] + found["decode_s"]
    assert parts == pytest.approx(found["e2e_s"])
    assert found["queue_s"] + found["execution_s"] + found["preempted_s"] == pytest.approx(found["e2e_s"])
    assert found["queue_s"] + found["prefill_s"] == pytest.approx(found["ttft_s"])


@pytest.mark.parametrize("why", ["cancelled", "expired"])
def test_of_dropped_requests_what_was_seen_counts_alone(why: str) -> None:
    first = np.array([10.5, 12.0, 13.0, 14.0])
    produced = np.array([3, 1, 2, 1])
    run = outcome(LAST, why, first_token_at=first, produced_tokens=produced)
    found = latencies(run)
    assert found["ttft_s"].tolist() == [0.5, 1.0, 1.0, 1.0], "its first token was seen"
    assert found["e2e_s"].tolist() == [4.5, 1.0, 1.5]
    assert latencies(outcome(LAST, why))["ttft_s"].tolist() == [0.5, 1.0, 1.0], "its first token was not seen"
    numbers = metrics(run, prepared())
    assert (numbers.cancelled, numbers.expired) == ((1, 0) if why == "cancelled" else (0, 1))
    assert numbers.output_token_throughput_tps == 7 / 4.5, "what was seen was delivered"
    assert numbers.request_throughput_rps == 3 / 4.5


# A run


def test_every_number_of_a_run() -> None:
    slo = Slo.parse({"ttft_p99_s": 1.0, "itl_max_s": 1.0})
    found = metrics(outcome(LAST), prepared(), slo, BILL)
    assert (found.requests, found.rejected, found.single_token_requests) == (4, 1, 1)
    assert found.duration_s == 4.5, "from the first arrival to the last finish"
    assert found.request_throughput_rps == 3 / 4.5
    assert found.output_token_throughput_tps == 6 / 4.5
    assert found.total_token_throughput_tps == 606 / 4.5
    assert found.goodput_rps == 2 / 4.5, "the first request stalls for 3 s"
    assert found.slo_met is False, "a rejected request is the slowest of four"
    assert (found.mean_batch_size, found.preemptions, found.restarted_requests) == (2.5, 2, 1)
    assert found.itl_s.mean == 1.5 and found.itl_s.p50 == 1.0 and found.itl_s.max == 3.0
    assert found.gpus == 2
    assert found.usd_per_hour == 7.2
    assert found.usd_per_million_output_tokens == pytest.approx(7.2 / 3600 * 4.5 / 6 * 1e6)
    assert found.usd_per_million_tokens == pytest.approx(7.2 / 3600 * 4.5 / 606 * 1e6)


def test_what_was_used_of_time_memory_and_rates() -> None:
    found = metrics(outcome(LAST), prepared())
    assert found.batch_size is not None and (found.batch_size.mean, found.batch_size.p50, found.batch_size.max) == (2.5, 3, 3)
    assert found.batch_tokens is not None and (found.batch_tokens.p50, found.batch_tokens.p99) == (2, 3)
    assert (found.kv_utilization, found.kv_utilization_peak) == (0.5, 0.8)
    assert found.cached_token_share == 60 / 600, "of the prompts that were not rejected"
    assert found.busy_share == pytest.approx(4.0 / (4.5 * 2))
    assert found.mfu == pytest.approx(1_500 * 1e10 / (4.5 * 1e15 * 2))
    assert found.bandwidth_utilization == pytest.approx((10 * 1e10 + 10_000 * 1e6) / (4.5 * 1e12 * 2))


def test_stages_share_the_work_and_the_gpus() -> None:
    run = outcome(stage_busy_s=np.array([3.0, 1.0]))
    uneven = replace(prepared(2).price_list, stage_share=np.array([0.75, 0.25]), stage_token_s=np.zeros((2, 0)))
    found = metrics(run, replace(prepared(2), price_list=uneven))
    assert found.stages is not None and found.mfu is not None and found.bandwidth_utilization is not None
    assert [stage.busy_share for stage in found.stages] == pytest.approx([3.0 / 9.0, 1.0 / 9.0])
    assert found.busy_share == pytest.approx(2.0 / 9.0)
    assert [stage.mfu for stage in found.stages] == pytest.approx([1.5 * found.mfu, 0.5 * found.mfu])
    assert found.stages[0].bandwidth_utilization == pytest.approx(1.5 * found.bandwidth_utilization)
    assert found.mfu == pytest.approx(1_500 * 1e10 / (4.5 * 1e15 * 4)), "of twice as many GPUs"


def test_completions_are_counted_in_equal_parts() -> None:
    found = metrics(outcome(), prepared()).completions
    assert found is not None and sum(found.counts) == 4
    assert len(found.counts) * found.bin_s == pytest.approx(4.5)
    # Finishes 2.0, 3.5, 4.25 and 4.5 s after the first arrival, the last one at the very end.
    assert [place for place, count in enumerate(found.counts) if count] == [22, 38, 47, 49]


def test_no_bill_no_dollars_and_no_slo_no_verdict() -> None:
    found = metrics(outcome(), prepared())
    assert found.usd_per_hour is found.usd_per_million_tokens is found.usd_per_million_output_tokens is None
    assert found.slo_met is found.goodput_rps is None
    unknown = replace(prepared().price_list, peak_flops_per_s=None, peak_bytes_per_s=None)
    found = metrics(outcome(), replace(prepared(), price_list=unknown))
    assert found.mfu is found.bandwidth_utilization is None
    assert found.stages is not None and found.stages[0].mfu is found.stages[0].bandwidth_utilization is None


def test_a_run_that_rejects_everything_has_numbers_still() -> None:
    found = metrics(outcome(ALL), prepared(), Slo.parse({"ttft_p50_s": 1.0}), BILL)
    assert found.ttft_s.mean is found.itl_s.p99 is found.e2e_s.max is None
    assert (found.duration_s, found.request_throughput_rps, found.goodput_rps) == (0, 0, 0)
    assert found.slo_met is False and found.usd_per_million_tokens is None
    found.model_dump_json()


def test_numbers_stored_before_there_were_as_many_are_read_still() -> None:
    document = metrics(outcome(), prepared()).model_dump(mode="json")
    required = [name for name, field in Metrics.model_fields.items() if field.is_required()]
    old = Metrics.parse({name: document[name] for name in required})
    assert not any([old.stages, old.batch_size, old.classes, old.cancelled])
    assert Metrics.parse(document) == metrics(outcome(), prepared())


def test_a_long_run_is_measured_in_milliseconds() -> None:
    import time

    run, slo = run_of(20_000, 30.0), Slo.parse({"ttft_p99_s": 1.0, "itl_p99_s": 0.1})
    taken = []
    for _ in range(5):
        began = time.process_time()
        metrics(run, prepared(), slo)
        taken.append(time.process_time() - began)
    assert min(taken) < 0.03


# Classes


def test_each_class_has_numbers_of_its_own() -> None:
    slo = Slo.parse({"ttft_p50_s": 1.0, "batch": {"e2e_p99_s": 1.0}})
    found = metrics(outcome(LAST, "expired"), prepared(), slo)
    assert found.classes is not None
    chat, batch = found.classes["chat"], found.classes["batch"]
    assert (chat.requests, batch.requests, batch.expired, batch.rejected) == (2, 2, 1, 0)
    assert (chat.ttft_s.p50, chat.ttft_s.max, batch.ttft_s.max) == (0.5, 1.0, 1.0)
    assert chat.itl_max_s.p50 == 0.5 and batch.tpot_s.mean is None
    assert (chat.slo_met, batch.slo_met, found.slo_met) == (True, False, False)
    assert (chat.goodput_rps, batch.goodput_rps) == (2 / 4.5, 1 / 4.5)
    one = metrics(outcome(class_of=np.zeros(4, dtype=np.int64), class_names=("all",)), prepared())
    assert one.classes is None


def test_a_bound_without_a_class_is_about_those_that_have_none_of_their_own() -> None:
    run = outcome()
    slo = Slo.parse({"ttft_p99_s": 0.75, "batch": {"ttft_p99_s": 2.0}})
    found = excesses(run, slo)
    assert found == {
        "ttft_p99_s": pytest.approx(math.log(1.0 / 0.75)),
        "batch.ttft_p99_s": pytest.approx(math.log(1.0 / 2.0)),
    }
    assert excess(run, slo)[1] == "ttft_p99_s"
    assert statistic(run, Bound("ttft_p50_s", 1.0, "chat")) == 0.5
    assert statistic(run, Bound("ttft_p50_s", 1.0, "nobody")) == 0.0


def test_good_requests_keep_the_limits_of_their_class() -> None:
    slo = Slo.parse({"e2e_p99_s": 2.0, "batch": {"e2e_p99_s": 1.1}})
    assert good_requests(outcome(), slo) == good_requests(outcome(), slo, "chat") + good_requests(outcome(), slo, "batch") == 2


def test_gaps_of_a_class_cannot_be_told_apart() -> None:
    with pytest.raises(InputError, match=r"^slo\.batch\.itl_p99_s: "):
        excesses(outcome(), Slo.parse({"batch": {"itl_p99_s": 0.1}}))


# Verdicts


def test_a_lost_request_makes_a_bounded_mean_infinite() -> None:
    assert 0 < statistic(outcome(), Bound("ttft_mean_s", 1.0)) < math.inf
    for why in ("rejected", "expired"):
        run, empty = outcome(LAST, why), outcome(ALL, why)
        assert statistic(run, Bound("ttft_mean_s", 1.0)) == statistic(run, Bound("itl_mean_s", 1.0)) == math.inf
        assert statistic(empty, Bound("ttft_mean_s", 1.0)) == statistic(empty, Bound("itl_mean_s", 1.0)) == math.inf


def test_a_deadline_breaks_the_slo_and_a_users_wish_does_not() -> None:
    slo = Slo.parse({"e2e_p99_s": 5.0, "ttft_p99_s": 2.0})
    assert excess(outcome(LAST, "expired"), slo)[0] == math.inf
    assert excess(outcome(LAST, "cancelled"), slo)[0] < 0
    assert good_requests(outcome(LAST, "cancelled"), slo) == good_requests(outcome(LAST, "expired"), slo) == 3


def test_an_expired_requests_gaps_are_missing_from_where_it_was_dropped() -> None:
    run = outcome(LAST, "expired", output_tokens=np.array([3, 1, 2, 8]), produced_tokens=np.array([3, 1, 2, 6]))
    # Three gaps were seen beside five of the dropped request's seven, which are left out here; two were not.
    assert statistic(run, Bound("itl_p50_s", 1.0)) == 3.0
    assert statistic(run, Bound("itl_p90_s", 1.0)) == math.inf


def test_latencies_that_nobody_has_break_no_bound() -> None:
    one = np.ones(4, dtype=np.int64)
    singles = outcome(output_tokens=one, produced_tokens=one, gap_count=one[:0], gap_sum=np.zeros(0), itl_max=np.zeros(4))
    assert statistic(singles, Bound("tpot_p99_s", 1.0)) == statistic(singles, Bound("itl_p99_s", 1.0)) == 0.0
    assert gap_distribution(singles).p99 is None
    assert excess(singles, Slo.parse({"tpot_p99_s": 1e-9})) == (-math.inf, "tpot_p99_s")


def test_the_binding_term_is_the_one_that_is_farthest_out() -> None:
    over, term = excess(outcome(), Slo.parse({"ttft_p99_s": 0.5, "e2e_p99_s": 1.5, "itl_p99_s": 30.0}))
    assert term == "e2e_p99_s" and over == pytest.approx(math.log(4.5 / 1.5))
    assert excess(outcome(), Slo.parse({"e2e_p99_s": 4.5}))[0] == 0.0, "at the limit is within it"
    assert excess(outcome(LAST), Slo.parse({"ttft_p99_s": 100.0})) == (math.inf, "ttft_p99_s")


@given(st.floats(0.02, 50), st.sampled_from(["rejected", "expired", "cancelled"]), st.booleans())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_verdict_is_that_of_every_bound(scale: float, why: str, lost: bool) -> None:
    run = outcome(LAST if lost else NOBODY, why)
    slo = Slo.parse({"ttft_p90_s": 0.5 * scale, "itl_p99_s": 0.3 * scale, "e2e_mean_s": scale})
    verdict = all(statistic(run, bound) <= bound.limit_s for bound in slo.bounds)
    assert metrics(run, prepared(), slo).slo_met == verdict
    assert (excess(run, slo)[0] <= 0) == verdict


def test_a_percentile_of_the_slo_is_that_of_the_metrics() -> None:
    run = run_of()
    found = metrics(run, prepared())
    for latency in ("ttft", "tpot", "itl", "e2e"):
        shown: Distribution = getattr(found, f"{latency}_s")
        for name in ("mean", "p50", "p90", "p95", "p99"):
            assert statistic(run, Bound(f"{latency}_{name}_s", 1.0)) == shown.get(name)


# The backlog


def test_backlog_grows_by_what_the_second_half_leaves_unserved() -> None:
    # Two have arrived and none has finished at 11 s; four have arrived and one has finished at 13 s.
    assert backlog_growth(outcome()) == (3 - 2) / 2


def test_backlog_goes_by_the_clock_and_not_by_the_order_of_requests() -> None:
    order = np.array([2, 0, 3, 1])
    run = outcome()
    mixed = outcome(arrived_at=run.arrived_at[order], finished_at=run.finished_at[order])
    assert backlog_growth(mixed) == backlog_growth(run)


@pytest.mark.parametrize(("rate", "grows"), [(5.0, False), (1e4, True)])
def test_backlog_tells_overload_from_load(rate: float, grows: bool) -> None:
    assert (backlog_growth(run_of(300, rate)) > 0.2) == grows
