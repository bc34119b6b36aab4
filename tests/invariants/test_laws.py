"""The laws hold for every case: the oracle keeps them, and the kernel is the oracle in each of its ways to decide a step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from simulator.kernel import engine
from simulator.measure import metrics
from simulator.run import Outcome
from simulator.spec.prices import Bill
from simulator.spec.slo import Slo
from simulator.traffic import Traffic
from tests.invariants import laws
from tests.invariants.cases import COUNTERS, LEAPS, PLAIN, Case, cases, linear_prices, play, play_naively, prepared_for
from tests.invariants.scenarios import scenarios

# The same commit gets the same verdict.
thorough = settings(max_examples=120, deadline=None, derandomize=True)
brief = settings(max_examples=40, deadline=None, derandomize=True)
# Skipped decodes hold blocks by the straight line between their ends; a single step holds them by whole blocks.
LEAPT_BLOCK_SECONDS = 0.05


def check(case: Case, outcome: Outcome, run: engine.Run) -> None:
    """Raises Broken unless a run of the kernel keeps the laws of one run."""
    laws.all_of_one_run(outcome, case.knobs(), run.replicas["free_blocks"], case.by_priority)


@thorough
@given(cases())
def test_the_oracle_keeps_the_laws(case: Case) -> None:
    outcome, run = play_naively(case)
    laws.all_of_one_run(outcome, case.knobs(), [replica.free_blocks for replica in run.replicas], case.by_priority)


@thorough
@given(cases())
def test_every_engine_keeps_the_laws_and_agrees(case: Case) -> None:
    expected, _ = play_naively(case)
    played = {}
    for mode in case.modes:
        outcome, run = play(case, mode)
        check(case, outcome, run)
        laws.runs_agree(outcome, expected, LEAPT_BLOCK_SECONDS if mode == LEAPS else laws.SLACK)
        played[mode] = outcome
    if COUNTERS in played:
        laws.runs_are_equal(played[PLAIN], played[COUNTERS])


@brief
@given(cases(most=200))
def test_counters_equal_records_on_longer_runs(case: Case) -> None:
    assume(COUNTERS in case.modes)
    (plain, _), (counted, run) = play(case, PLAIN), play(case, COUNTERS)
    check(case, counted, run)
    laws.runs_are_equal(plain, counted)


@brief
@given(cases(), st.data())
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
        laws.future_is_unknown(one, two, changed, case.asynchronous, laws.SLACK_S if mode == LEAPS else 0.0)


@brief
@given(cases())
def test_work_is_conserved_without_seats_or_blocks_to_wait_for(case: Case) -> None:
    prices = linear_prices(3e-3, 2e-5, 1e-8, tokens=300, seqs=64, longest=case.max_model_len)
    roomy = replace(case, kv_blocks=10_000, max_num_seqs=64, max_num_batched_tokens=300, price_list=prices)
    for mode in roomy.modes:
        laws.work_is_conserved(play(roomy, mode)[0])


@pytest.mark.parametrize("scheduler", ["vllm_v1", "sarathi_serve"])
def test_the_same_seed_gives_the_same_bytes(scheduler: str) -> None:
    slo, bill = (
        Slo.parse({"ttft_p99_s": 1.0, "itl_p99_s": 0.1}),
        Bill(instance="i", provider="p", instances=1, gpus_rented=1, usd_per_hour=2),
    )
    for name, case in scenarios(scheduler).items():
        for mode in case.modes:
            prepared = prepared_for(case, mode)
            texts = [metrics(play(case, mode)[0], prepared, slo, bill).model_dump_json() for _ in range(2)]
            laws.same_bytes(*texts)
            assert "NaN" not in texts[0], name


@brief
@given(cases(schedulers=("vllm_v1",)), st.integers(1, 50))
def test_what_is_rejected_changes_nothing_for_others(case: Case, place: int) -> None:
    traffic = case.traffic
    kept = play(case)[0]
    assume(not kept.rejected.any())
    place = min(place, len(traffic))
    with_one = Traffic(
        arrival_s=np.insert(traffic.arrival_s, place, traffic.arrival_s[max(place - 1, 0)]),
        prompt_tokens=np.insert(traffic.prompt_tokens, place, case.max_model_len),
        output_tokens=np.insert(traffic.output_tokens, place, 5),
        priority=np.insert(traffic.priority, place, 0),
        rate_rps=1.0,
    )
    assume(not case.by_priority)
    found = play(replace(case, traffic=with_one))[0]
    assert found.rejected[place] and found.rejected.sum() == 1
    for name in laws.TIMES:
        assert np.array_equal(np.delete(getattr(found, name), place), getattr(kept, name)), name
