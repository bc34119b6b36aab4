"""Golden: what vLLM 0.19.0's own scheduler was recorded to decide, request by request and to the nanosecond.

The recordings lie outside the repository (`vllm-scheduler` in the data folder); the laws of tests/invariants go with them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from simulator.kernel.pricelist import PriceList
from simulator.run import Outcome, Prepared, prepare, simulate
from simulator.traffic import Traffic
from tests.invariants import laws
from tests.invariants.cases import LEAPS, MODES, PLAIN, Case, play, play_naively, resolved
from tests.shared import data_dir

WITHOUT_PREFIX_CACHE = (
    "s01-low-load",
    "s02-saturation-seqs",
    "s03-kv-exhaust",
    "s04-kv-noreserve",
    "s05-tiny-blocks",
    "s06-budget-256",
    "s07-long-prefill",
    "s10-priority",
)
# Without a threshold and without priorities, steps can be decided from counters.
COUNTABLE = tuple(name for name in WITHOUT_PREFIX_CACHE if name not in ("s07-long-prefill", "s10-priority"))
KNOBS = ("max_num_batched_tokens", "max_num_seqs", "block_size", "max_model_len", "long_prefill_token_threshold")
TIMES = {"first_scheduled_at": "first_scheduled_s", "first_token_at": "first_token_s", "finished_at": "finished_s"}


@dataclass(frozen=True)
class Recording:
    """One scenario: its configuration and totals, the deployment that it is, its traffic, and its rows by request."""

    about: dict[str, Any]
    prepared: Prepared
    traffic: Traffic
    rows: pd.DataFrame


def recording(name: str) -> Recording:
    """Returns a scenario; skips the test where there are no recordings."""
    folder = data_dir("vllm-scheduler")
    about = json.loads((folder / f"{name}.json").read_text())
    rows = pd.read_csv(folder / f"{name}.requests.csv.gz")
    config, cost = about["config"], about["cost_model"]
    deployment = resolved(
        **{knob: config[knob] for knob in KNOBS},
        num_gpu_blocks_override=about["usable_blocks"],
        scheduling_policy=config["policy"],
        scheduler_reserve_full_isl=config["scheduler_reserve_full_isl"],
        async_scheduling=config["async_scheduling"],
    )
    prices = {f"{part}_s": cost[f"{part}_ns"] * 1e-9 for part in ("base", "per_token", "per_kv_token")}
    traffic = Traffic(
        arrival_s=rows["arrived_at"].to_numpy(np.float64),
        prompt_tokens=rows["num_prefill_tokens"].to_numpy(np.int64),
        output_tokens=rows["num_decode_tokens"].to_numpy(np.int64),
        priority=rows["priority"].to_numpy(np.int64) if "priority" in rows else np.zeros(len(rows), dtype=np.int64),
        rate_rps=1.0,
    )
    return Recording(about, prepare(deployment, [{"source": "linear", **prices}]), traffic, rows)


def check(found: Outcome, expected: Recording) -> None:
    """Raises unless the outcome is the recorded one."""
    for column, recorded in TIMES.items():
        np.testing.assert_allclose(getattr(found, column), expected.rows[recorded], rtol=0, atol=1e-9, err_msg=recorded)
    assert np.array_equal(found.preemptions, expected.rows["preemptions"])
    summary = expected.about["summary"]
    preempting_only = summary["steps"] - found.iterations
    # A recorded step may have preempted without scheduling a token; it is no iteration.
    assert 0 <= preempting_only <= found.preemptions.sum()
    assert found.scheduled_tokens == summary["scheduled_tokens"]
    assert found.sampled_tokens == summary["output_tokens"]
    laws.requests_are_conserved(found)
    laws.time_goes_forward(found)
    laws.work_is_conserved(found)


@pytest.mark.parametrize(
    ("name", "mode"), [(name, mode) for name in WITHOUT_PREFIX_CACHE for mode in (MODES if name in COUNTABLE else (PLAIN,))]
)
def test_recorded_decisions_are_reproduced(name: str, mode: str) -> None:
    expected = recording(name)
    prepared = expected.prepared
    assert prepared.limits.counters == prepared.limits.leaps == (name in COUNTABLE)
    limits = replace(prepared.limits, counters=mode != PLAIN, leaps=mode == LEAPS)
    check(simulate(replace(prepared, limits=limits), expected.traffic), expected)


def test_asynchronous_decisions_are_reproduced_until_the_prefix_cache_hits() -> None:
    expected = recording("s11-async")
    steps = pd.read_csv(data_dir("vllm-scheduler") / "s11-async.steps.csv.gz")
    hits = steps["admitted"].str.contains(r":[1-9]", na=False)
    first_hit_s = float(steps["sched_s"][hits].min())
    found = simulate(expected.prepared, expected.traffic)
    for column, recorded in TIMES.items():
        times, golden = getattr(found, column), expected.rows[recorded].to_numpy()
        before = (times < first_hit_s) | (golden < first_hit_s)
        assert before.sum() > 40
        np.testing.assert_allclose(times[before], golden[before], rtol=0, atol=1e-9, err_msg=recorded)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITHOUT_PREFIX_CACHE)
def test_the_oracle_reproduces_them_too(name: str) -> None:
    expected = recording(name)
    check(play_naively(case_of(expected))[0], expected)


def case_of(recorded: Recording) -> Case:
    """Returns the scenario as a case."""
    config = recorded.about["config"]
    return Case(
        scheduler="vllm_v1",
        price_list=recorded.prepared.price_list,
        traffic=recorded.traffic,
        **{knob: config[knob] for knob in KNOBS},
        kv_blocks=recorded.about["usable_blocks"],
        reserve_full_isl=config["scheduler_reserve_full_isl"],
        by_priority=config["policy"] == "priority",
    )


def slower(prices: PriceList) -> PriceList:
    """Returns the prices of steps that take a nanosecond longer."""
    return replace(prices, extra_s=prices.extra_s + 1e-9)


def test_a_nanosecond_a_step_is_seen() -> None:
    expected = recording("s05-tiny-blocks")
    found = play(replace(case_of(expected), price_list=slower(expected.prepared.price_list)))[0]
    with pytest.raises(AssertionError, match=r"first_scheduled_s|first_token_s"):
        check(found, expected)
