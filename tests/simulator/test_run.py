"""From a deployment to an outcome: what is prepared, at which rate it runs, what it cannot do and how it says so."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from simulator.errors import Infeasible, InputError
from simulator.kernel import engine
from simulator.measure import backlog_growth
from simulator.run import Prepared, prepare, saturated_rate, simulate
from simulator.traffic import Traffic
from tests.invariants.cases import LINEAR, Case, linear_prices, play, random_traffic, resolved

TRAFFIC = random_traffic(np.random.default_rng(5), 300, 30.0)


def uniform(count: int, prompt: int, output: int) -> Traffic:
    """Returns equal requests, a second apart."""
    whole = np.ones(count, dtype=np.int64)
    return Traffic(np.arange(count, dtype=float), prompt * whole, output * whole, 0 * whole, 1.0)


def ready(**fields: object) -> Prepared:
    """Returns a deployment ready to run on linear prices."""
    return prepare(resolved(**fields), LINEAR)


# Preparing


def test_limits_are_those_of_the_deployment() -> None:
    limits = ready(num_gpu_blocks_override=700, max_num_seqs=33, block_size=8, scheduling_policy="priority").limits
    assert (limits.kv_blocks, limits.max_num_seqs, limits.block_size) == (700, 33, 8)
    assert limits.by_priority and not limits.asynchronous and not limits.counters
    assert ready(async_scheduling=True).limits.asynchronous


@pytest.mark.parametrize(("scheduler", "watermark"), [("vllm_v1", 0), ("sarathi_serve", 7)])
def test_the_watermark_is_the_schedulers(scheduler: str, watermark: int) -> None:
    assert ready(scheduler=scheduler, num_gpu_blocks_override=700).limits.watermark_blocks == watermark


@pytest.mark.parametrize("fields", [{"scheduling_policy": "priority"}, {"long_prefill_token_threshold": 100}])
def test_counters_decide_only_where_they_can_tell(fields: dict[str, object]) -> None:
    assert ready().limits.counters and ready().limits.leaps
    assert not ready(**fields).limits.counters and not ready(**fields).limits.leaps


@pytest.mark.parametrize(("field", "kind"), [("scheduler", "vllm_v1"), ("router", "round_robin")])
def test_an_unknown_policy_is_told_with_the_choices(field: str, kind: str) -> None:
    with pytest.raises(InputError, match=rf"^deployment\.{field}: .*allowed: .*{kind}"):
        ready(**{field: kind[:-1]})


# Simulating


def test_a_rate_stretches_the_clock_and_none_keeps_it() -> None:
    prepared = ready()
    own = simulate(prepared, TRAFFIC)
    twice = simulate(prepared, TRAFFIC, rate_rps=2 * TRAFFIC.rate_rps)
    assert np.array_equal(own.arrived_at, TRAFFIC.arrival_s)
    assert np.array_equal(twice.arrived_at, TRAFFIC.arrival_s / 2)
    assert twice.first_token_at.max() < own.first_token_at.max()


def test_the_fleet_is_the_deployments_unless_stated() -> None:
    prepared = ready(replicas=3)
    own, five = simulate(prepared, TRAFFIC), simulate(prepared, TRAFFIC, replicas=5)
    assert (own.replicas, five.replicas) == (3, 5)
    assert np.array_equal(own.replica, np.arange(300) % 3) and np.array_equal(five.replica, np.arange(300) % 5)


def test_replicas_are_so_many_independent_engines() -> None:
    fleet = simulate(ready(replicas=3), TRAFFIC)
    columns = [field.name for field in fields(TRAFFIC) if isinstance(getattr(TRAFFIC, field.name), np.ndarray)]
    for replica in range(3):
        share = replace(TRAFFIC, **{name: getattr(TRAFFIC, name)[replica::3] for name in columns})
        alone = simulate(ready(), share)
        np.testing.assert_allclose(alone.finished_at, fleet.finished_at[replica::3], rtol=0, atol=1e-9)


def test_what_never_fits_is_rejected_and_the_rest_served() -> None:
    prompts = TRAFFIC.prompt_tokens.copy()
    prompts[3], prompts[200] = 512 - TRAFFIC.output_tokens[3], 513 - TRAFFIC.output_tokens[200]
    found = simulate(ready(), replace(TRAFFIC, prompt_tokens=prompts))
    assert np.flatnonzero(found.rejected).tolist() == [200], "max_model_len is 512"
    assert np.isnan(found.finished_at[200]) and np.isfinite(np.delete(found.finished_at, 200)).all()


def test_no_requests_are_refused() -> None:
    with pytest.raises(InputError, match=r"^workload\.num_requests: 0 "):
        simulate(ready(), uniform(0, 1, 1))


# Saturation


@pytest.mark.parametrize(("seqs", "expected_rps"), [(1, 100.0), (4, 400.0)])
def test_the_saturated_rate_of_constant_steps(seqs: int, expected_rps: float) -> None:
    prepared = prepare(resolved(max_num_seqs=seqs), ({"source": "linear", "base_s": 0.01},))
    assert saturated_rate(prepared, uniform(1_000, 20, 1)) == pytest.approx(expected_rps, rel=0.01)


def test_the_saturated_rate_is_where_the_backlog_begins_to_grow() -> None:
    prepared, traffic = ready(max_num_seqs=16), random_traffic(np.random.default_rng(6), 3_000, 3_000.0)
    traffic = replace(traffic, rate_rps=1.0)
    rate = saturated_rate(prepared, traffic)
    assert backlog_growth(simulate(prepared, traffic, 0.8 * rate)) < 0.02
    assert backlog_growth(simulate(prepared, traffic, 1.3 * rate)) > 0.15


def test_requests_that_all_are_too_long_have_no_rate() -> None:
    with pytest.raises(Infeasible, match="every request is longer than max_model_len"):
        saturated_rate(ready(), uniform(50, 600, 1))


# What cannot go on


def test_requests_that_preempt_each_other_for_ever_are_infeasible() -> None:
    """Of one instant and one priority, the first in the list goes: vLLM takes turns with such requests, and so does this."""
    prompts, outputs = [175, 194, 178], [18, 19, 45]
    traffic = Traffic(np.zeros(3), np.array(prompts), np.array(outputs), np.full(3, 2), 1.0)
    case = Case(
        "vllm_v1",
        linear_prices(5e-3, 2e-5, 1e-8, tokens=22, seqs=22),
        traffic,
        max_num_batched_tokens=22,
        max_num_seqs=22,
        block_size=1,
        kv_blocks=320,
        long_prefill_token_threshold=7,
        reserve_full_isl=False,
        by_priority=True,
    )
    with pytest.raises(Infeasible, match="preempt each other for ever"):
        play(case)
    apart = replace(traffic, arrival_s=np.array([0.0, 1e-6, 2e-6]))
    assert np.isfinite(play(replace(case, traffic=apart))[0].finished_at).all()


def test_a_batch_beyond_the_price_list_has_no_price() -> None:
    prepared = ready()
    whole = prepared.price_list
    short = replace(whole, token_s=whole.token_s[:, :64], stage_token_s=whole.stage_token_s[:, :64])
    with pytest.raises(Infeasible, match=r"has no price: the operator times end at 63"):
        simulate(replace(prepared, prices=engine.prices_of(short, prepared.limits)), uniform(10, 200, 2))


def test_a_price_list_without_time_is_refused() -> None:
    with pytest.raises(InputError, match=r"^profiles: .*takes time"):
        prepare(resolved(), ({"source": "linear"},))
