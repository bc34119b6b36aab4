"""The driver decides what the simulator decides, step by step, under every policy; and what vLLM's scheduler decided."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from profiler.engine.driver import Driver
from profiler.engine.settings import Settings
from simulator import catalog, scenario
from simulator.draw import draw
from simulator.errors import InputError
from simulator.resolve import resolve
from simulator.run import Prepared, prepare, simulate
from simulator.steps import STEP_COLUMNS, step_rows
from simulator.traffic import Traffic
from tests.invariants.cases import LINEAR, random_traffic, resolved, with_shared_prefixes
from tests.profiler.engine.replaying import linear, replay, rows
from tests.shared import data_dir
from tests.simulator.test_vllm_steps import check_steps, table, write_scenario

SECOND = linear(5e-3, 2e-5, 1e-9)


def prepared(**fields: Any) -> Prepared:
    """Returns a deployment under linear prices; blocks are few, so that there is preemption."""
    return prepare(resolved(**{"num_gpu_blocks_override": 60, "max_num_seqs": 12, "max_num_batched_tokens": 128, **fields}), LINEAR)


def crowd(seed: int = 3, count: int = 150) -> Traffic:
    """Returns more requests than the engine can serve at once."""
    return random_traffic(np.random.default_rng(seed), count, 2.0)


def agree(ready: Prepared, traffic: Traffic) -> Any:
    """Raises unless the driver's steps are the simulator's; returns the simulator's outcome."""
    outcome = simulate(ready, traffic, record_steps=True)
    served = np.flatnonzero(~outcome.rejected)
    assert len(served) == len(traffic), "the replay numbers all requests"
    found, times = rows(replay(Driver(ready.limits, ready.policy), traffic, SECOND, ready.price_list.stage_share.tolist()))
    expected, expected_times = rows(outcome.steps)
    for mine, theirs in zip(found, expected, strict=False):
        assert mine == theirs
    assert len(found) == len(expected) > 50
    np.testing.assert_allclose(times, expected_times, rtol=0, atol=1e-9)
    return outcome


@pytest.mark.parametrize("scheduler", catalog.names("schedulers"))
def test_every_policy_decides_as_it_is_simulated(scheduler: str) -> None:
    agree(prepared(scheduler=scheduler, max_num_batched_tokens=512, num_gpu_blocks_override=100), crowd())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"async_scheduling": True},
        {"scheduling_policy": "priority"},
        {"enable_prefix_caching": True},
        {"enable_prefix_caching": True, "async_scheduling": True},
        {"long_prefill_token_threshold": 32, "scheduler_reserve_full_isl": False},
    ],
    ids=lambda fields: "-".join(fields) or "plain",
)
def test_knobs_and_preemption_are_as_simulated(fields: dict[str, Any]) -> None:
    outcome = agree(prepared(**fields), crowd())
    assert outcome.preemptions.sum() > 0


@pytest.mark.parametrize("scheduler", ["vllm_v1", "sarathi_serve", "orca", "vllm_v0"])
def test_micro_batches_of_a_pipeline_are_as_simulated(scheduler: str) -> None:
    fields = {"max_num_batched_tokens": 512, "async_scheduling": True} if scheduler != "vllm_v1" else {}
    outcome = agree(prepared(scheduler=scheduler, pipeline_parallel_size=2, num_gpu_blocks_override=100, **fields), crowd())
    assert outcome.steps is not None
    steps = outcome.steps.steps
    assert (steps["start_s"][1:] < steps["end_s"][:-1] - 1e-6).sum() > 50, "a step starts while another one is in the second stage"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_shared_prefixes_are_found_as_simulated(asynchronous: bool) -> None:
    traffic = with_shared_prefixes(np.random.default_rng(5), crowd(), 16)
    outcome = agree(prepared(enable_prefix_caching=True, async_scheduling=asynchronous), traffic)
    assert outcome.cached_tokens.sum() > 0


@pytest.mark.parametrize("scheduler", catalog.names("schedulers"))
def test_limits_are_those_that_the_deployment_is_simulated_with(scheduler: str) -> None:
    ready = prepared(scheduler=scheduler, num_gpu_blocks_override=150, scheduling_policy="fcfs", async_scheduling=True)
    settings = Settings.of(ready.deployment, device="cpu")
    assert settings.num_gpu_blocks_override == 150 and settings.device == "cpu"
    assert settings.limits(512, 150) == replace(ready.limits, counters=False, leaps=False)


# What vLLM 0.19.0 was recorded to decide


@pytest.mark.parametrize("name", ["s02-saturation-seqs", "s03-kv-exhaust", "s09-prefix-evict", "s11-async"])
def test_it_decides_what_vllm_decided(name: str, tmp_path: Path) -> None:
    folder = data_dir("vllm-scheduler")
    about, requests = json.loads((folder / f"{name}.json").read_text()), table(folder / f"{name}.requests.csv.gz")
    asked = scenario.read(write_scenario(tmp_path, about, requests))
    cost = [about["cost_model"][f"{part}_ns"] / 1e9 for part in ("base", "per_token", "per_kv_token")]
    ready = prepare(resolve(asked.deployment), asked.profiles)
    log = replay(Driver(ready.limits, ready.policy), draw(asked.workload, None, 0), linear(*cost))
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(STEP_COLUMNS)
    writer.writerows(step_rows(log, np.arange(len(requests))))
    check_steps(list(csv.DictReader(io.StringIO(file.getvalue()))), table(folder / f"{name}.steps.csv.gz"))


# Rooms


def driver(**fields: Any) -> Driver:
    """Returns an idle driver."""
    ready = prepared(**fields)
    return Driver(ready.limits, ready.policy)


@pytest.mark.parametrize(("prompt", "most"), [(0, 4), (4, 0), (500, 13)])
def test_what_can_never_be_served_is_refused(prompt: int, most: int) -> None:
    with pytest.raises(InputError, match="max_model_len"):
        driver().add([1] * prompt, most, 0.0)


def test_rows_are_used_again_and_grow() -> None:
    one = driver()
    for wave in range(3):
        waiting = [one.add([wave, k], 2, 0.0) for k in range(100)]
        while one.has_work:
            decision = one.decide(0.0)
            one.land(decision, [7] * len(decision.sampling), [False] * len(decision.sampling))
        assert all(served.ended and served.tokens[2:] == [7, 7] for served in waiting)
    assert len(one.requests) == 128 and not one.served
    assert one.replica["free_blocks"][0] == one.limits.kv_blocks


@pytest.mark.parametrize("asynchronous", [False, True])
def test_dropped_and_stopped_requests_return_everything(asynchronous: bool) -> None:
    one = driver(async_scheduling=asynchronous, enable_prefix_caching=True)
    waiting = [one.add([k] * 40, 50, 0.0) for k in range(20)]
    flights = [one.decide(0.0)]
    one.drop(waiting[0])
    one.drop(waiting[19])
    while one.has_work or flights:
        if one.has_work:
            flights.append(one.decide(0.0))
        while flights and (len(flights) == 2 or not one.has_work or not asynchronous):
            oldest = flights.pop(0)
            if len(oldest.parts):
                count = len(oldest.sampling)
                one.land(oldest, list(range(count)), [k % 3 == 0 for k in range(count)])
    assert all(served.ended for served in waiting) and not one.served
    assert waiting[0].produced == waiting[19].produced == 0
    assert one.replica["free_blocks"][0] == one.limits.kv_blocks and one.in_flight == 0
    assert sorted(one.running[2 * 12 :].tolist()) == list(range(12))


def test_numbers_of_contents_are_used_again() -> None:
    one = driver(enable_prefix_caching=True, max_model_len=64)
    room = one.cache.first.shape[1]
    for wave in range(room):
        one.add([wave] * 33, 1, 0.0)
        decision = one.decide(0.0)
        assert decision.parts[0, 2] == 0, "nobody had these tokens before"
        one.land(decision, [1], [False])
    one.add([room - 1] * 33, 1, 0.0)
    assert one.decide(0.0).parts[0, 2] == 32
    assert one.cache.first.shape[1] == room
