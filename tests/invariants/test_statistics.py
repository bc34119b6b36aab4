"""What is measured is what is defined: queueing theory, nearest ranks, bins of gaps, violations, goodput; with faults."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.measure import PERCENTILES, distribution, gap_distribution, good_requests, latencies, statistic
from simulator.spec.metrics import Distribution
from simulator.spec.slo import Bound, Slo
from simulator.traffic import Traffic
from tests.invariants import measure_laws
from tests.invariants.cases import MODES, Case, cases, linear_prices, play, play_naively
from tests.invariants.laws import Broken
from tests.invariants.scenarios import scenarios

brief = settings(max_examples=60, deadline=None, derandomize=True)
# Ties are likely, as they are among simulated latencies.
seconds = st.lists(st.sampled_from([0.1, 0.2, 0.3]) | st.floats(1e-6, 100), min_size=1, max_size=250)


# One server


def one_at_a_time(load: float, count: int, output_tokens: np.ndarray | None = None) -> Case:
    """Returns Poisson arrivals at a server with one seat, whose every step takes 10 ms."""
    gaps = np.random.default_rng(11).exponential(0.01 / load, count)
    ones = np.ones(count, dtype=np.int64)
    traffic = Traffic(np.cumsum(gaps), ones, ones if output_tokens is None else output_tokens, 0 * ones, 1.0)
    return Case("vllm_v1", linear_prices(0.01, 0.0, 0.0, 2, 1), traffic, max_num_batched_tokens=2, max_num_seqs=1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("load", [0.3, 0.7])
def test_one_at_a_time_waits_as_m_d_1(load: float, mode: str) -> None:
    outcome, _ = play(one_at_a_time(load, 400_000), mode)
    measure_laws.waits_as_m_d_1(latencies(outcome)["queue_s"], load / 0.01, 0.01, within=0.03)


def test_service_that_varies_is_seen_not_to_be_m_d_1() -> None:
    outputs = np.random.default_rng(12).geometric(0.5, 400_000)
    outcome, _ = play(one_at_a_time(0.35, 400_000, outputs))
    with pytest.raises(Broken, match="M/D/1"):
        measure_laws.waits_as_m_d_1(latencies(outcome)["queue_s"], 0.35 / 0.01, 0.02, within=0.03)


# Percentiles


@brief
@given(seconds)
def test_percentiles_are_nearest_rank(values: list[float]) -> None:
    found = distribution(np.array(values))
    measure_laws.percentiles_are_nearest_rank(values, found)
    assert found.mean == pytest.approx(math.fsum(values) / len(values)) and found.max == max(values)


@pytest.mark.parametrize("count", [1, 2, 10, 19, 20, 21, 99, 100, 101, 200, 1000])
def test_ranks_are_whole_where_the_share_is(count: int) -> None:
    values = np.arange(1.0, count + 1)
    measure_laws.percentiles_are_nearest_rank(values.tolist(), distribution(values[::-1]))


def test_a_percentile_between_values_is_seen() -> None:
    values = np.arange(1.0, 41.0)
    between = {name: float(np.quantile(values, share)) for name, share in PERCENTILES.items()}
    with pytest.raises(Broken, match="nearest-rank"):
        measure_laws.percentiles_are_nearest_rank(values.tolist(), Distribution(mean=None, max=None, **between))


# Gaps


@brief
@given(cases(replicas=2))
def test_gaps_are_exact_to_their_bins(case: Case) -> None:
    _, run = play_naively(case)
    gaps = [gap for request in run.requests for gap in request.gaps]
    for mode in case.modes:
        found = gap_distribution(play(case, mode)[0])
        if gaps:
            measure_laws.gaps_are_exact(gaps, found)
        else:
            assert found.mean is None and found.p99 is None


def test_wide_bins_are_seen() -> None:
    case = scenarios("vllm_v1")["asynchronous"]
    outcome = play(case)[0]
    _, run = play_naively(case)
    gaps = [gap for request in run.requests for gap in request.gaps]
    measure_laws.gaps_are_exact(gaps, gap_distribution(outcome))
    merged = [column.reshape(-1, 2).sum(axis=1) for column in even(outcome.gap_count, outcome.gap_sum)]
    with pytest.raises(Broken, match=r"exact to 0\.1 %"):
        measure_laws.gaps_are_exact(gaps, gap_distribution(replace(outcome, gap_count=merged[0], gap_sum=merged[1])))


def even(*columns: np.ndarray) -> list[np.ndarray]:
    """Returns the columns cut to an even length, the last two entries joined where it is odd."""
    odd = len(columns[0]) % 2
    return [np.append(column[:-2], column[-2:].sum()) if odd else column for column in columns]


# Violations and goodput


@brief
@given(cases(), st.sampled_from(sorted(PERCENTILES)), st.sampled_from(["ttft", "tpot", "e2e"]))
def test_rejected_requests_count_as_violations(case: Case, name: str, latency: str) -> None:
    outcome = play(rejecting(case))[0]
    bound = Bound(f"{latency}_{name}_s", 1.0)
    counted = outcome.rejected & ((outcome.output_tokens > 1) | (latency != "tpot"))
    values = latencies(outcome)[f"{latency}_s"].tolist()
    if values or counted.any():
        measure_laws.rejected_count_as_violations(values, int(counted.sum()), int(name[1:]), statistic(outcome, bound))


@brief
@given(cases(), st.sampled_from(sorted(PERCENTILES)))
def test_gaps_of_rejected_requests_count_as_violations(case: Case, name: str) -> None:
    outcome = play(rejecting(case))[0]
    _, run = play_naively(rejecting(case))
    gaps = [gap for request in run.requests for gap in request.gaps]
    missing = int((outcome.output_tokens[outcome.rejected] - 1).sum())
    if gaps or missing:
        expected = measure_laws.rank([*gaps, *[math.inf] * missing], int(name[1:]))
        found = statistic(outcome, Bound(f"itl_{name}_s", 1.0))
        assert found == expected == math.inf or abs(found - expected) <= measure_laws.BIN_WIDTH * expected


def rejecting(case: Case) -> Case:
    """Returns the case with its every fifth prompt too long."""
    prompts = case.traffic.prompt_tokens.copy()
    prompts[::5] = case.max_model_len
    return replace(case, traffic=replace(case.traffic, prompt_tokens=prompts))


def test_leaving_rejected_requests_out_is_seen() -> None:
    outcome = play(scenarios("vllm_v1")["some never fit"])[0]
    values, rejected = latencies(outcome)["ttft_s"].tolist(), int(outcome.rejected.sum())
    measure_laws.rejected_count_as_violations(values, rejected, 99, statistic(outcome, Bound("ttft_p99_s", 1.0)))
    with pytest.raises(Broken, match="rejected requests are violations"):
        measure_laws.rejected_count_as_violations(values, rejected, 99, measure_laws.rank(values, 99))


LIMITS = {"ttft_s": 0.5, "tpot_s": 0.03, "itl_max_s": 0.1, "e2e_s": 2.0}


@brief
@given(cases(), st.sets(st.sampled_from(sorted(LIMITS))), st.floats(0.2, 5))
def test_goodput_counts_requests_that_keep_every_limit(case: Case, names: set[str], scale: float) -> None:
    outcome = play(case)[0]
    limits = {name: scale * LIMITS[name] for name in names}
    # An Slo needs one bound, which is also the limit on a request's E2E unless that is stated.
    slo = Slo.parse({"e2e_mean_s": 50.0, **limits})
    measure_laws.goodput_counts(outcome, {"e2e_s": 50.0, **limits}, good_requests(outcome, slo))


def test_a_forgotten_limit_is_seen() -> None:
    outcome = play(scenarios("vllm_v1")["tight pool"])[0]
    kept, forgotten = ({"ttft_p99_s": 9.0, "itl_max_s": limit} for limit in (0.02, 9.0))
    measure_laws.goodput_counts(outcome, {"ttft_s": 9.0, "itl_max_s": 0.02}, good_requests(outcome, Slo.parse(kept)))
    with pytest.raises(Broken, match="goodput"):
        measure_laws.goodput_counts(outcome, {"ttft_s": 9.0, "itl_max_s": 0.02}, good_requests(outcome, Slo.parse(forgotten)))
