"""Cases: an engine's limits, a price list and some traffic, and how the kernel and the oracle play them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator import catalog
from simulator.content import Content
from simulator.kernel import engine
from simulator.kernel.pricelist import PriceList
from simulator.outcome import Outcome, outcome_of
from simulator.run import Prepared, prepare
from simulator.spec.deployment import Resolved
from simulator.traffic import Traffic
from tests import deployed, naive
from tests.invariants.outcomes import outcome_of_naive

# How steps are decided: by the policy on the records; by counters where they are exact; pure decode skipped as well.
PLAIN, COUNTERS, LEAPS = "plain", "counters", "leaps"
MODES = (PLAIN, COUNTERS, LEAPS)
LONGEST = 512
LINEAR = ({"source": "linear", "base_s": 5e-3, "per_token_s": 2e-5, "per_kv_token_s": 1e-9},)
FEWER = {"max_model_len": LONGEST, "enable_prefix_caching": False, "async_scheduling": False, "cudagraph_mode": "NONE"}


def resolved(**fields: Any) -> Resolved:
    """Returns a deployment that differs from the plain one in the fields given."""
    return deployed.resolved(**{**FEWER, **fields})


@dataclass(frozen=True, eq=False)
class Case:
    """One fleet under one workload; whether counters may decide follows from the policy and the limits.

    The pipeline's stages are those of the price list; `group` engines step together, and there are `replicas` groups.
    """

    scheduler: str
    price_list: PriceList
    traffic: Traffic
    max_num_batched_tokens: int = 256
    max_num_seqs: int = 16
    block_size: int = 16
    max_model_len: int = LONGEST
    kv_blocks: int = 4096
    long_prefill_token_threshold: int = 0
    reserve_full_isl: bool = True
    by_priority: bool = False
    asynchronous: bool = False
    prefix_caching: bool = False
    group: int = 1
    replicas: int = 1
    router: str = "round_robin"
    frontend: engine.Frontend = field(default_factory=engine.Frontend)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def policy(self) -> ModuleType:
        """The scheduler's module."""
        return catalog.module("schedulers", self.scheduler, "scheduler")

    @property
    def stages(self) -> int:
        """The stages of the pipeline."""
        return len(self.price_list.stage_share)

    @property
    def encoded(self) -> tuple[int, ...]:
        """The policy's options as it reads them."""
        policy: Any = self.policy
        return tuple(policy.encode(policy.Options(**self.options))) if hasattr(policy, "Options") else ()

    @property
    def modes(self) -> tuple[str, ...]:
        """The ways in which the kernel may decide this case's steps."""
        plain = self.by_priority or self.long_prefill_token_threshold > 0 or any(self.encoded)
        countable = self.policy.COUNTABLE and not plain and self.max_num_batched_tokens >= self.max_num_seqs
        if not countable or (self.prefix_caching and self.traffic.content is not None):
            return (PLAIN,)
        leaps = self.stages == self.group == 1 and not self.frontend.detokenize_s
        return MODES if leaps else (PLAIN, COUNTERS)

    @property
    def watermark_blocks(self) -> int:
        """The blocks that admission leaves free."""
        return int(self.policy.WATERMARK * self.kv_blocks)

    @property
    def plain_front(self) -> bool:
        """Whether a token is seen when its step ends, and a request is at its engine when it arrives."""
        return self.frontend == engine.Frontend() and self.router != "deferred"

    def limits(self, mode: str) -> engine.Limits:
        """Returns the kernel's limits."""
        policy = self.policy
        return engine.Limits(
            **self._shared(),
            group=self.group,
            own_micro_batch=policy.OWN_MICRO_BATCH,
            longest_prompt=None if policy.CHUNKS or policy.RESERVES else self.max_num_batched_tokens,
            counters=mode != PLAIN,
            leaps=mode == LEAPS,
            whole_prompt=policy.WHOLE_PROMPT,
            options=self.encoded,
        )

    def knobs(self) -> naive.Knobs:
        """Returns the oracle's limits."""
        return naive.Knobs(
            scheduler=self.scheduler,
            **self._shared(),
            group=self.group,
            api_s_per_request=self.frontend.api_s_per_request,
            api_s_per_prompt_token=self.frontend.api_s_per_token,
            detokenize_s_per_token=self.frontend.detokenize_s,
            options=self.options,
        )

    def _shared(self) -> dict[str, Any]:
        return {
            "max_num_batched_tokens": self.max_num_batched_tokens,
            "max_num_seqs": self.max_num_seqs,
            "block_size": self.block_size,
            "max_model_len": self.max_model_len,
            "kv_blocks": self.kv_blocks,
            "watermark_blocks": self.watermark_blocks,
            "long_prefill_token_threshold": self.long_prefill_token_threshold,
            "reserve_full_isl": self.reserve_full_isl,
            "by_priority": self.by_priority,
            "asynchronous": self.asynchronous,
            "prefix_caching": self.prefix_caching and self.policy.CACHES,
            "pipeline_stages": self.stages,
        }


# Playing a case


def play(case: Case, mode: str = PLAIN, schedule: Any = None, record: bool = False) -> tuple[Outcome, engine.Run]:
    """Returns what the kernel makes of a case, as an Outcome and as the records themselves."""
    prepared = prepared_for(case, mode, schedule)
    run = engine.run(
        prepared.limits, prepared.prices, case.traffic, case.traffic.arrival_s, fleet_of(case, prepared), record=record
    )
    return outcome_of(run, case.traffic, case.replicas, prepared.limits, record), run


def fleet_of(case: Case, prepared: Prepared) -> engine.Fleet:
    """Returns the engines of a case behind their router."""
    return engine.Fleet(
        replicas=case.replicas * case.group,
        schedule=prepared.policy.schedule,
        route=prepared.router.route,
        memory=9 + max(int(ids.max(initial=0)) for ids in (case.traffic.session, content_ids(case))),
        frontend=case.frontend,
    )


def content_ids(case: Case) -> NDArray[np.int64]:
    """Returns the numbers of all blocks of tokens."""
    content = case.traffic.content
    return content.ids if isinstance(content, Content) else np.zeros(0, dtype=np.int64)


def prepared_for(case: Case, mode: str = PLAIN, schedule: Any = None) -> Prepared:
    """Returns the case as a deployment that is ready to run; `schedule` takes the place of the policy's own."""
    limits = case.limits(mode)
    policy: Any = SimpleNamespace(schedule=schedule) if schedule else case.policy
    return replace(
        _plain_deployment(),
        limits=limits,
        price_list=case.price_list,
        prices=engine.prices_of(case.price_list, limits),
        policy=policy,
        router=catalog.module("routers", case.router, "router"),
        frontend=case.frontend,
    )


@cache
def _plain_deployment() -> Prepared:
    return prepare(resolved(), LINEAR)


def play_naively(case: Case, kind: type[naive.Fleet] = naive.Fleet, routed: Any = None) -> tuple[Outcome, naive.Run]:
    """Returns what the oracle, or a faulty one, makes of a case; its gaps are not binned but exact.

    `routed[request]` says where a router sent each request that the oracle does not know.
    """
    router = case.router if routed is None else lambda fleet, request: int(routed[request.number])
    run = naive.simulate(case.knobs(), case.price_list, requests_of(case), case.replicas, router, kind)
    return outcome_of_naive(run, case.traffic, case.replicas), run


def requests_of(case: Case) -> list[naive.Request]:
    """Returns the traffic as the oracle's requests."""
    traffic, content = case.traffic, case.traffic.content if case.prefix_caching else None
    return [
        naive.Request(
            number=i,
            arrived_at=float(traffic.arrival_s[i]),
            prompt=int(traffic.prompt_tokens[i]),
            output=int(traffic.output_tokens[i]),
            priority=int(traffic.priority[i]),
            max_new_tokens=int(traffic.output_tokens[i]),
            content=content.of(i).tolist() if isinstance(content, Content) else None,
            after=int(traffic.after[i]),
            think_s=float(traffic.think_s[i]),
            cancel_after_s=float(traffic.cancel_after_s[i]),
            expires=bool(traffic.expires[i]),
        )
        for i in range(len(traffic))
    ]
