"""The laws hold for every case: the oracle keeps them, and the kernel is the oracle in each of its ways to decide a step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from simulator import catalog
from simulator.measure import metrics
from simulator.spec.prices import Bill
from simulator.spec.slo import Slo
from tests.invariants import agreement, laws, step_laws
from tests.invariants.cases import (
    COUNTERS,
    LEAPS,
    PLAIN,
    SCHEDULERS,
    Case,
    any_cases,
    cases,
    inserted,
    linear_prices,
    play,
    play_naively,
    prepared_for,
)
from tests.invariants.scenarios import scenarios

# The same commit gets the same verdict.
thorough = settings(max_examples=25, deadline=None, derandomize=True)
brief = settings(max_examples=15, deadline=None, derandomize=True)
# Skipped decodes hold blocks by the straight line between their ends; a single step holds them by whole blocks.
LEAPT_BLOCK_SECONDS = 0.05
COUNTABLE = tuple(name for name in SCHEDULERS if catalog.module("schedulers", name, "scheduler").COUNTABLE)
# Policies that see what a client allows at most, which here is what it makes.
TOLD = ("lightllm", "sglang")


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_oracle_and_kernel_keep_the_laws_and_agree(scheduler: str) -> None:
    @thorough
    @given(any_cases((scheduler,)))
    def kept(case: Case) -> None:
        expected, naive_run = play_naively(case)
        laws.all_of_any_run(expected, case.knobs(), [engine.free_blocks for engine in naive_run.replicas], case.traffic)
        played = {}
        for mode in case.modes:
            outcome, run = play(case, mode)
            laws.all_of_any_run(outcome, case.knobs(), run.replicas["free_blocks"], case.traffic)
            agreement.runs_agree(outcome, expected, LEAPT_BLOCK_SECONDS if mode == LEAPS else laws.SLACK)
            played[mode] = outcome
        if COUNTERS in played:
            agreement.runs_are_equal(played[PLAIN], played[COUNTERS])
        log = play(case, PLAIN, record=True)[0].steps
        assert log is not None and expected.steps is not None
        for each in (log, expected.steps):
            step_laws.all_of_one_log(each, case.knobs())
        step_laws.logs_agree(log, expected.steps)

    kept()


@brief
@given(cases())
def test_plain_engines_waste_no_time(case: Case) -> None:
    for mode in case.modes:
        outcome, run = play(case, mode)
        if case.plain_front:
            laws.all_of_one_run(outcome, case.knobs(), run.replicas["free_blocks"], case.by_priority)


@brief
@given(any_cases(COUNTABLE, most=200))
def test_counters_equal_records_on_longer_runs(case: Case) -> None:
    assume(COUNTERS in case.modes)
    (plain, _), (counted, run) = play(case, PLAIN), play(case, COUNTERS)
    laws.all_of_any_run(counted, case.knobs(), run.replicas["free_blocks"], case.traffic)
    agreement.runs_are_equal(plain, counted)


@brief
@given(cases(tuple(name for name in SCHEDULERS if name not in TOLD)), st.data())
def test_a_policy_cannot_see_output_lengths(case: Case, data: st.DataObject) -> None:
    traffic = case.traffic
    changed = data.draw(st.integers(0, len(traffic) - 1), label="changed")
    assume(traffic.output_tokens[changed] > 1)
    longer = traffic.output_tokens.copy()
    longer[changed] += data.draw(st.integers(1, 40), label="more")
    other = replace(case, traffic=replace(traffic, output_tokens=longer))
    for mode in case.modes:
        one, two = play(case, mode)[0], play(other, mode)[0]
        assume(np.array_equal(one.rejected, two.rejected) and not one.rejected[changed])
        agreement.future_is_unknown(one, two, changed, case.asynchronous, laws.SLACK_S if mode == LEAPS else 0.0)


@brief
@given(cases(tuple(name for name in SCHEDULERS if name not in laws.WITHOUT_BUDGET)))
def test_work_is_conserved_without_seats_or_blocks_to_wait_for(case: Case) -> None:
    prices = linear_prices(3e-3, 2e-5, 1e-8, tokens=600, seqs=64, longest=case.max_model_len)
    roomy = replace(case, kv_blocks=40_000, max_num_seqs=64, max_num_batched_tokens=600, price_list=prices)
    for mode in roomy.modes:
        laws.work_is_conserved(play(roomy, mode)[0])


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_same_seed_gives_the_same_bytes(scheduler: str) -> None:
    slo, bill = (
        Slo.parse({"ttft_p99_s": 1.0, "itl_p99_s": 0.1}),
        Bill(instance="i", provider="p", instances=1, gpus_rented=1, usd_per_hour=2),
    )
    for name, case in scenarios(scheduler).items():
        for mode in case.modes:
            prepared = prepared_for(case, mode)
            texts = [metrics(play(case, mode)[0], prepared, slo, bill).model_dump_json() for _ in range(2)]
            agreement.same_bytes(*texts)
            assert "NaN" not in texts[0], name


@brief
@given(cases(), st.integers(1, 50))
def test_what_is_rejected_changes_nothing_for_others(case: Case, place: int) -> None:
    assume(not case.by_priority and case.router != "prefix_aware")
    kept = play(case)[0]
    assume(not kept.rejected.any())
    place = min(place, len(case.traffic))
    found = play(replace(case, traffic=inserted(case.traffic, place, prompt=case.max_model_len, output=5)))[0]
    assert found.rejected[place] and found.rejected.sum() == 1
    for name in laws.TIMES:
        assert np.array_equal(np.delete(getattr(found, name), place), getattr(kept, name)), name
