"""From a deployment to an outcome: prepare once, simulate as often as there are rates and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from simulator import catalog, knobs
from simulator.errors import Infeasible, InputError
from simulator.kernel import engine
from simulator.kernel.pricelist import PriceList
from simulator.kernel.state import Prices
from simulator.memory import MemoryPlan, plan
from simulator.optime.chain import Through
from simulator.optime.provenance import Provenance
from simulator.outcome import Outcome, outcome_of
from simulator.spec.deployment import Resolved
from simulator.spec.model import Model
from simulator.spec.slo import Slo
from simulator.stepcost import price_list
from simulator.stopping import stop_at
from simulator.traffic import Traffic

Profiles = Sequence[Mapping[str, object]] | None
# The load that is far enough beyond any capacity for the middle of a run to show the saturated rate.
SATURATION_REQUESTS = 5_000

__all__ = ["Outcome", "Prepared", "Profiles", "prepare", "saturated_rate", "scaled", "simulate"]


@dataclass(frozen=True)
class Prepared:
    """A deployment ready to be simulated: its KV pool, its price list and its policies."""

    deployment: Resolved
    memory: MemoryPlan
    price_list: PriceList
    provenance: Provenance
    limits: engine.Limits
    prices: Prices
    policy: ModuleType
    router: ModuleType
    frontend: engine.Frontend = field(default_factory=engine.Frontend)
    profiles: Profiles = None

    @property
    def engine_name(self) -> str:
        """How steps are decided: `counter` in constant time, `plain` by the policy's walk over the batch."""
        return "counter" if self.limits.counters else "plain"


def prepare(deployment: Resolved, profiles: Profiles = None, through: Through | None = None) -> Prepared:
    """Returns the deployment ready to run; raises Infeasible when it does not fit, InputError when it is not legal.

    The times of operators pass `through`, where there is one.
    """
    model = catalog.model(deployment.model, "deployment.model")
    memory = plan(
        deployment,
        model,
        catalog.device(deployment.device, "deployment.device"),
        catalog.engine(deployment.engine, "deployment.engine"),
    )
    prices, provenance = price_list(deployment, profiles, through)
    if _least_seconds(prices) <= 0:
        raise InputError("profiles", profiles, "sources under which every iteration takes time")
    policy = catalog.module("schedulers", deployment.scheduler, "deployment.scheduler")
    router = catalog.module("routers", deployment.router, "deployment.router")
    limits = limits_of(deployment, model, policy, memory.usable_blocks)
    frontend = engine.Frontend(
        deployment.api_server_s_per_request, deployment.api_server_s_per_prompt_token, deployment.detokenize_s_per_token
    )
    return Prepared(
        deployment, memory, prices, provenance, limits, engine.prices_of(prices, limits), policy, router, frontend, profiles
    )


def limits_of(deployment: Resolved, model: Model, policy: ModuleType, kv_blocks: int) -> engine.Limits:
    """Returns what one engine of the deployment allows, and whether counters may decide its steps."""
    limits = knobs.limits_of(deployment, policy, deployment.max_model_len, kv_blocks, "deployment.")
    countable = _countable(deployment, policy, limits.options)
    group = deployment.data_parallel_size if model.num_local_experts else 1
    return replace(limits, group=group, counters=countable, leaps=countable)


def scaled(prepared: Prepared, factor: float) -> Prepared:
    """Returns the deployment on which everything that an engine does takes `factor` times as long."""
    tables = ("token_s", "sample_s", "decode_s", "prefill_s", "floor_s", "extra_s", "stage_token_s", "mixed_decode_s")
    names = (*tables, "mixed_pair_s")
    prices = replace(prepared.price_list, **{name: getattr(prepared.price_list, name) * factor for name in names})
    return replace(prepared, price_list=prices, prices=engine.prices_of(prices, prepared.limits))


def simulate(
    prepared: Prepared,
    traffic: Traffic,
    rate_rps: float | None = None,
    replicas: int | None = None,
    *,
    stop: Slo | None = None,
    record_steps: bool = False,
) -> Outcome:
    """Returns the outcome of `traffic` at a mean rate (None: on its own clock) on the fleet (None: of its own size).

    With `stop` the run is broken off as soon as a percentile bound is violated for certain.
    """
    replicas = replicas or prepared.deployment.replicas
    return _simulate(prepared, traffic, traffic.at(rate_rps), replicas, stop_at(stop, traffic) if stop else None, record_steps)


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
    least = prices.token_s[:, 1:].min(axis=1) * prices.stage_share.max()
    return float((np.maximum(least, prices.floor_s * prices.stage_share.max()) + prices.extra_s).min())


def _countable(deployment: Resolved, policy: ModuleType, options: tuple[int, ...]) -> bool:
    """Returns whether steps may be decided from counters: every decode takes part in every step, one prompt is part-done."""
    return (
        policy.COUNTABLE
        and not any(options)
        and deployment.scheduling_policy == "fcfs"
        and deployment.long_prefill_token_threshold == 0
        and deployment.max_num_batched_tokens >= deployment.max_num_seqs
    )


def _simulate(
    prepared: Prepared,
    traffic: Traffic,
    arrival_s: NDArray[np.float64],
    replicas: int,
    stop: engine.Stop | None = None,
    record_steps: bool = False,
) -> Outcome:
    if len(traffic) == 0:
        raise InputError("workload.num_requests", 0, "at least one request")
    fleet = engine.Fleet(
        replicas=replicas * prepared.deployment.data_parallel_size,
        schedule=prepared.policy.schedule,
        route=prepared.router.route,
        memory=_memory(prepared.router, prepared.limits, traffic),
        always_chooses=prepared.router.IGNORES_STATE,
        seed=traffic.seed,
        frontend=prepared.frontend,
    )
    run = engine.run(prepared.limits, prepared.prices, traffic, arrival_s, fleet, stop, record_steps)
    return outcome_of(run, traffic, replicas, prepared.limits, record_steps)


def _memory(router: ModuleType, limits: engine.Limits, traffic: Traffic) -> int:
    """Returns how many numbers the router keeps: eight, and one for each session or content that it tells apart."""
    if router.STATE_PER_SESSION:
        return 8 + int(traffic.session.max(initial=-1)) + 1
    content = traffic.content_for(limits.block_size) if router.STATE_PER_CONTENT else None
    return 8 + (int(content.ids.max(initial=-1)) + 1 if content else 0)
