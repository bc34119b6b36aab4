"""From a deployment to an outcome: prepare once, simulate as often as there are rates and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator import catalog
from simulator.errors import Infeasible, InputError
from simulator.kernel import engine
from simulator.kernel.pricelist import PriceList
from simulator.kernel.records import Prices
from simulator.memory import MemoryPlan, plan
from simulator.optime.provenance import Provenance
from simulator.spec.deployment import Resolved
from simulator.stepcost import price_list
from simulator.traffic import Traffic

Profiles = Sequence[Mapping[str, object]] | None
# The load that is far enough beyond any capacity for the middle of a run to show the saturated rate.
SATURATION_REQUESTS = 5_000


@dataclass(frozen=True)
class Prepared:
    """A deployment ready to be simulated: its KV pool, its price list and its policies."""

    deployment: Resolved
    memory: MemoryPlan
    price_list: PriceList
    provenance: Provenance
    limits: engine.Limits
    prices: Prices
    schedule: Any
    route: Any


@dataclass(frozen=True)
class Outcome:
    """Timestamps of N requests in the order of the traffic, in seconds on its clock; NaN where nothing happened.

    gap_count and gap_sum hold the inter-token gaps by ascending bin; the rest are totals over the fleet.
    """

    arrived_at: NDArray[np.float64]
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    first_scheduled_at: NDArray[np.float64]
    first_token_at: NDArray[np.float64]
    finished_at: NDArray[np.float64]
    itl_max: NDArray[np.float64]
    preemptions: NDArray[np.int64]
    replica: NDArray[np.int64]
    rejected: NDArray[np.bool_]
    gap_count: NDArray[np.int64]
    gap_sum: NDArray[np.float64]
    iterations: int
    scheduled_requests: int
    scheduled_tokens: int
    sampled_tokens: int
    busy_s: float
    block_seconds: float
    replicas: int
    kv_blocks: int


def prepare(deployment: Resolved, profiles: Profiles = None) -> Prepared:
    """Returns the deployment ready to run; raises Infeasible when it does not fit, InputError when it is not legal."""
    memory = plan(
        deployment,
        catalog.model(deployment.model, "deployment.model"),
        catalog.device(deployment.device, "deployment.device"),
        catalog.engine(deployment.engine, "deployment.engine"),
    )
    prices, provenance = price_list(deployment, profiles)
    if _least_seconds(prices) <= 0:
        raise InputError("profiles", profiles, "sources under which every iteration takes time")
    policy = catalog.module("schedulers", deployment.scheduler, "deployment.scheduler")
    router = catalog.module("routers", deployment.router, "deployment.router")
    limits = engine.Limits(
        max_num_batched_tokens=deployment.max_num_batched_tokens,
        max_num_seqs=deployment.max_num_seqs,
        block_size=deployment.block_size,
        max_model_len=deployment.max_model_len,
        kv_blocks=memory.usable_blocks,
        watermark_blocks=int(policy.WATERMARK * memory.usable_blocks),
        long_prefill_token_threshold=deployment.long_prefill_token_threshold,
        reserve_full_isl=deployment.scheduler_reserve_full_isl,
        by_priority=deployment.scheduling_policy == "priority",
        asynchronous=deployment.async_scheduling,
        counters=_countable(deployment, policy),
        leaps=_countable(deployment, policy),
        whole_prompt=policy.WHOLE_PROMPT,
    )
    return Prepared(deployment, memory, prices, provenance, limits, engine.prices_of(prices, limits), policy.schedule, router.route)


def simulate(prepared: Prepared, traffic: Traffic, rate_rps: float | None = None, replicas: int | None = None) -> Outcome:
    """Returns the outcome of `traffic` at a mean rate (None: on its own clock) on the fleet (None: of its own size)."""
    return _simulate(prepared, traffic, traffic.at(rate_rps), replicas or prepared.deployment.replicas)


def saturated_rate(prepared: Prepared, traffic: Traffic) -> float:
    """Returns the requests a second that one replica completes when all of `traffic` waits from the start.

    Measured from the fifth to the fourth fifth of the completions, so that neither filling nor draining counts; raises
    Infeasible when every request is longer than the deployment allows.
    """
    # A nanosecond apart: with equal times a priority policy would take the oldest request for the latest.
    outcome = _simulate(prepared, traffic, (np.arange(len(traffic)) * 1e-9).astype(np.float64), 1)
    finished = np.sort(outcome.finished_at[~outcome.rejected])
    if len(finished) == 0:
        raise Infeasible(
            f"every request is longer than max_model_len ({prepared.limits.max_model_len}) "
            f"or than the KV pool ({prepared.limits.kv_blocks * prepared.limits.block_size} tokens)"
        )
    first, last = len(finished) // 5, max(len(finished) * 4 // 5, len(finished) // 5 + 1)
    last = min(last, len(finished) - 1)
    if last <= first or finished[last] <= finished[first]:
        return float(len(traffic) / finished[-1])
    return float((last - first) / (finished[last] - finished[first]) * len(traffic) / len(finished))


def _least_seconds(prices: PriceList) -> float:
    """Returns a bound from below on the time of any iteration; the loop could not go on without one above zero."""
    return float((np.maximum(prices.token_s[:, 1:].min(axis=1), prices.floor_s) + prices.extra_s).min())


def _countable(deployment: Resolved, policy: ModuleType) -> bool:
    """Returns whether steps may be decided from counters: every decode takes part in every step, one prompt is part-done."""
    return (
        policy.COUNTABLE
        and deployment.scheduling_policy == "fcfs"
        and deployment.long_prefill_token_threshold == 0
        and deployment.max_num_batched_tokens >= deployment.max_num_seqs
    )


def _simulate(prepared: Prepared, traffic: Traffic, arrival_s: NDArray[np.float64], replicas: int) -> Outcome:
    if len(traffic) == 0:
        raise InputError("workload.num_requests", 0, "at least one request")
    fleet = engine.Fleet(replicas, prepared.schedule, prepared.route)
    run = engine.run(prepared.limits, prepared.prices, traffic, arrival_s, fleet)
    filled = run.gaps["count"] > 0
    return Outcome(
        arrived_at=run.requests["arrived_at"],
        prompt_tokens=traffic.prompt_tokens,
        output_tokens=traffic.output_tokens,
        first_scheduled_at=run.requests["first_scheduled_at"],
        first_token_at=run.outcomes["first_token_at"],
        finished_at=run.outcomes["last_token_at"],
        itl_max=run.outcomes["itl_max"],
        preemptions=run.requests["preemptions"],
        replica=run.outcomes["replica"],
        rejected=run.rejected,
        gap_count=run.gaps["count"][filled],
        gap_sum=run.gaps["sum_s"][filled],
        iterations=int(run.replicas["iterations"].sum()),
        scheduled_requests=int(run.replicas["scheduled_requests"].sum()),
        scheduled_tokens=int(run.replicas["scheduled_tokens"].sum()),
        sampled_tokens=int(run.replicas["sampled_tokens"].sum()),
        busy_s=float(run.replicas["busy_s"].sum()),
        block_seconds=float(run.replicas["block_seconds"].sum()),
        replicas=replicas,
        kv_blocks=prepared.limits.kv_blocks,
    )
