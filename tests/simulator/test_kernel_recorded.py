"""Golden: what vLLM 0.19.0's own scheduler was recorded to decide, by the kernel in each of its ways to decide a step.

The recordings lie outside the repository (`vllm-scheduler` in the data folder); the laws of tests/invariants go with them.
Counters do not record steps: they are held to the recorded times of every request.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from simulator.content import Content
from simulator.kernel import engine
from simulator.kernel.pricelist import PriceList
from simulator.outcome import Outcome
from simulator.run import Prepared, prepare, simulate
from simulator.traffic import Traffic
from tests.invariants import laws, step_laws
from tests.invariants.cases import LEAPS, MODES, PLAIN, resolved
from tests.invariants.outcomes import log_of
from tests.shared import data_dir
from tests.simulator.test_naive_recorded import LIMITS, SCENARIOS, about, numbers, replayed

# Steps are decided from counters without a threshold, without priorities, and where blocks have no identity.
COUNTABLE = SCENARIOS[:6]
TIMES = {"first_scheduled_at": "first_scheduled_s", "first_token_at": "first_token_s", "finished_at": "finished_s"}


@dataclass(frozen=True)
class Recording:
    """One scenario: its totals, the deployment that it is, its traffic, and its rows by request."""

    summary: dict[str, Any]
    prepared: Prepared
    traffic: Traffic
    rows: pd.DataFrame


def recording(name: str) -> Recording:
    """Returns a scenario; skips the test where there are no recordings."""
    recorded = about(name)
    rows = pd.read_csv(data_dir("vllm-scheduler") / f"{name}.requests.csv.gz", dtype={"block_ids": str})
    config, cost = recorded["config"], recorded["cost_model"]
    deployment = resolved(
        **{limit: config[limit] for limit in LIMITS},
        num_gpu_blocks_override=recorded["usable_blocks"],
        scheduling_policy=config["policy"],
        scheduler_reserve_full_isl=config["scheduler_reserve_full_isl"],
        async_scheduling=config["async_scheduling"],
        enable_prefix_caching=config["enable_prefix_caching"],
    )
    prices = {f"{part}_s": cost[f"{part}_ns"] * 1e-9 for part in ("base", "per_token", "per_kv_token")}
    traffic = Traffic(
        arrival_s=rows["arrived_at"].to_numpy(np.float64),
        prompt_tokens=rows["num_prefill_tokens"].to_numpy(np.int64),
        output_tokens=rows["num_decode_tokens"].to_numpy(np.int64),
        priority=rows["priority"].to_numpy(np.int64) if "priority" in rows else np.zeros(len(rows), dtype=np.int64),
        rate_rps=1.0,
        content=content_of(rows, config["block_size"]),
    )
    return Recording(recorded["summary"], prepare(deployment, [{"source": "linear", **prices}]), traffic, rows)


def content_of(rows: pd.DataFrame, block_size: int) -> Content | None:
    """Returns what the recording says of the requests' blocks."""
    if "block_ids" not in rows:
        return None
    ids = [numbers(text) for text in rows["block_ids"].fillna("")]
    starts = np.concatenate([[0], np.cumsum([len(each) for each in ids])])
    return Content(np.concatenate(ids).astype(np.int64), starts.astype(np.int64), block_size)


def check(found: Outcome, expected: Recording) -> None:
    """Raises unless the outcome is the recorded one."""
    for column, recorded in TIMES.items():
        np.testing.assert_allclose(getattr(found, column), expected.rows[recorded], rtol=0, atol=1e-9, err_msg=recorded)
    assert np.array_equal(found.preemptions, expected.rows["preemptions"])
    assert np.array_equal(found.cached_tokens, expected.rows.get("cached_tokens", 0 * found.preemptions))
    summary = expected.summary
    # A recorded step may have preempted without scheduling a token; it is no iteration.
    assert 0 <= summary["steps"] - found.iterations <= found.preemptions.sum()
    assert found.scheduled_tokens == summary["scheduled_tokens"]
    assert found.sampled_tokens == summary["output_tokens"]
    laws.requests_are_conserved(found, may_find_more=True)
    laws.time_goes_forward(found)
    laws.work_is_conserved(found)
    laws.hits_are_shared_prefixes(found, expected.traffic, expected.prepared.limits.block_size)


@pytest.mark.parametrize(
    ("name", "mode"), [(name, mode) for name in SCENARIOS for mode in (MODES if name in COUNTABLE else (PLAIN,))]
)
def test_recorded_decisions_are_reproduced(name: str, mode: str) -> None:
    expected = recording(name)
    prepared = expected.prepared
    assert (prepared.limits.counters and expected.traffic.content is None) == (name in COUNTABLE)
    limits = replace(prepared.limits, counters=mode != PLAIN, leaps=mode == LEAPS)
    check(simulate(replace(prepared, limits=limits), expected.traffic), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_step_is_the_oracles(name: str) -> None:
    expected = recording(name)
    found = simulate(expected.prepared, expected.traffic, record_steps=True).steps
    run = replayed(name)
    assert found is not None
    step_laws.logs_agree(found, log_of(run))
    step_laws.all_of_one_log(found, run.replicas[0].knobs)


def slower(prices: PriceList) -> PriceList:
    """Returns the prices of steps that take a nanosecond longer."""
    return replace(prices, extra_s=prices.extra_s + 1e-9)


def test_a_nanosecond_a_step_is_seen() -> None:
    expected = recording("s05-tiny-blocks")
    prepared = expected.prepared
    check(simulate(prepared, expected.traffic), expected)
    late = replace(prepared, prices=engine.prices_of(slower(prepared.price_list), prepared.limits))
    with pytest.raises(AssertionError, match=r"first_scheduled_s|first_token_s"):
        check(simulate(late, expected.traffic), expected)
