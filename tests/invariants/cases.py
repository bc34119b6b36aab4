"""Cases: a scheduler's limits, a price list and some traffic, and how each engine plays them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulator import catalog
from simulator.kernel import engine
from simulator.kernel.pricelist import PriceList
from simulator.run import Outcome, Prepared, prepare, simulate
from simulator.spec.deployment import Resolved
from simulator.traffic import Traffic
from tests import naive

# How steps are decided: by the policy on the records; by counters where they are exact; pure decode skipped as well.
PLAIN, COUNTERS, LEAPS = "plain", "counters", "leaps"
MODES = (PLAIN, COUNTERS, LEAPS)
LONGEST = 512
LINEAR = ({"source": "linear", "base_s": 5e-3, "per_token_s": 2e-5, "per_kv_token_s": 1e-9},)
FIELDS: dict[str, Any] = {
    "model": "meta-llama/Llama-3.1-8B",
    "engine": "vllm-0.19",
    "device": "H200-SXM",
    "dtype": "bfloat16",
    "tensor_parallel_size": 1,
    "pipeline_parallel_size": 1,
    "replicas": 1,
    "scheduler": "vllm_v1",
    "max_num_batched_tokens": 2048,
    "max_num_seqs": 256,
    "block_size": 16,
    "max_model_len": LONGEST,
    "gpu_memory_utilization": 0.9,
    "num_gpu_blocks_override": None,
    "enable_prefix_caching": False,
    "async_scheduling": False,
    "scheduling_policy": "fcfs",
    "long_prefill_token_threshold": 0,
    "scheduler_reserve_full_isl": True,
    "cudagraph_mode": "NONE",
    "router": "round_robin",
}


def resolved(**fields: Any) -> Resolved:
    """Returns a deployment that differs from the plain one in the fields given."""
    return Resolved(**{**FIELDS, **fields})


@dataclass(frozen=True, eq=False)
class Case:
    """One fleet under one workload; whether counters may decide follows from the policy and the limits."""

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
    replicas: int = 1

    @property
    def policy(self) -> ModuleType:
        """The scheduler's module."""
        return catalog.module("schedulers", self.scheduler, "scheduler")

    @property
    def modes(self) -> tuple[str, ...]:
        """The ways in which the kernel may decide this case's steps."""
        countable = self.policy.COUNTABLE and not self.by_priority and self.long_prefill_token_threshold == 0
        return MODES if countable else (PLAIN,)

    @property
    def watermark_blocks(self) -> int:
        """The blocks that admission leaves free."""
        return int(self.policy.WATERMARK * self.kv_blocks)

    def limits(self, mode: str) -> engine.Limits:
        """Returns the kernel's limits."""
        return engine.Limits(
            max_num_batched_tokens=self.max_num_batched_tokens,
            max_num_seqs=self.max_num_seqs,
            block_size=self.block_size,
            max_model_len=self.max_model_len,
            kv_blocks=self.kv_blocks,
            watermark_blocks=self.watermark_blocks,
            long_prefill_token_threshold=self.long_prefill_token_threshold,
            reserve_full_isl=self.reserve_full_isl,
            by_priority=self.by_priority,
            asynchronous=self.asynchronous,
            counters=mode != PLAIN,
            leaps=mode == LEAPS,
            whole_prompt=self.policy.WHOLE_PROMPT,
        )

    def knobs(self) -> naive.Knobs:
        """Returns the oracle's limits."""
        return naive.Knobs(
            scheduler=self.scheduler,
            max_num_batched_tokens=self.max_num_batched_tokens,
            max_num_seqs=self.max_num_seqs,
            block_size=self.block_size,
            max_model_len=self.max_model_len,
            kv_blocks=self.kv_blocks,
            watermark_blocks=self.watermark_blocks,
            long_prefill_token_threshold=self.long_prefill_token_threshold,
            reserve_full_isl=self.reserve_full_isl,
            by_priority=self.by_priority,
            asynchronous=self.asynchronous,
        )


# Playing a case


def play(case: Case, mode: str = PLAIN, schedule: Any = None) -> tuple[Outcome, engine.Run]:
    """Returns what the kernel makes of a case, as an Outcome and as the records themselves."""
    prepared = prepared_for(case, mode, schedule)
    outcome = simulate(prepared, case.traffic, replicas=case.replicas)
    fleet = engine.Fleet(case.replicas, prepared.schedule, prepared.route)
    return outcome, engine.run(prepared.limits, prepared.prices, case.traffic, case.traffic.arrival_s, fleet)


def prepared_for(case: Case, mode: str = PLAIN, schedule: Any = None) -> Prepared:
    """Returns the case as a deployment that is ready to run; `schedule` takes the place of the policy's own."""
    limits = case.limits(mode)
    return replace(
        _plain_deployment(),
        limits=limits,
        price_list=case.price_list,
        prices=engine.prices_of(case.price_list, limits),
        schedule=schedule or case.policy.schedule,
    )


@cache
def _plain_deployment() -> Prepared:
    return prepare(resolved(), LINEAR)


def play_naively(case: Case, replica: type[naive.Replica] = naive.Replica) -> tuple[Outcome, naive.Run]:
    """Returns what the oracle, or a faulty one, makes of a case; its gaps are not binned but exact."""
    traffic = case.traffic
    requests = [
        naive.Request(number, float(arrived), int(prompt), int(output), int(priority))
        for number, (arrived, prompt, output, priority) in enumerate(
            zip(traffic.arrival_s, traffic.prompt_tokens, traffic.output_tokens, traffic.priority, strict=True)
        )
    ]
    run = naive.simulate(case.knobs(), case.price_list, requests, case.replicas, replica)
    gaps, counts = np.unique([gap for r in requests for gap in r.gaps], return_counts=True)
    return _outcome(case, run, gaps, counts), run


def _outcome(case: Case, run: naive.Run, gaps: NDArray[np.float64], counts: NDArray[np.int64]) -> Outcome:
    requests, replicas = run.requests, run.replicas
    return Outcome(
        arrived_at=np.array([r.arrived_at for r in requests]),
        prompt_tokens=case.traffic.prompt_tokens,
        output_tokens=case.traffic.output_tokens,
        first_scheduled_at=np.array([r.first_scheduled_at for r in requests]),
        first_token_at=np.array([r.token_times[0] if r.token_times else np.nan for r in requests]),
        finished_at=np.array([r.token_times[-1] if r.token_times else np.nan for r in requests]),
        itl_max=np.array([max(r.gaps, default=0.0) for r in requests]),
        preemptions=np.array([r.preemptions for r in requests]),
        replica=np.array([r.replica for r in requests]),
        rejected=np.array([r.rejected for r in requests]),
        gap_count=counts,
        gap_sum=gaps * counts,
        iterations=sum(r.iterations for r in replicas),
        scheduled_requests=sum(r.scheduled_requests for r in replicas),
        scheduled_tokens=sum(r.scheduled_tokens for r in replicas),
        sampled_tokens=sum(r.sampled_tokens for r in replicas),
        busy_s=sum(r.busy_s for r in replicas),
        block_seconds=sum(r.block_seconds for r in replicas),
        replicas=case.replicas,
        kv_blocks=case.kv_blocks,
    )


# Price lists and traffic


def linear_prices(
    base_s: float, per_token_s: float, per_kv_token_s: float, tokens: int, seqs: int, longest: int = LONGEST
) -> PriceList:
    """Returns the list that prices an iteration as base + per token scheduled + per token of KV after it."""
    batch, chunk, kv = np.array([1, max(seqs, 2)]), np.array([1, max(tokens, 2)]), np.array([0, -(-longest // 64) * 64])
    return PriceList(
        token_s=np.tile(base_s + per_token_s * np.arange(tokens + 1), (3, 1)),
        sample_s=np.zeros(seqs + 1),
        decode_batch=batch,
        decode_kv=kv,
        decode_s=per_kv_token_s * (batch[:, None] * kv).astype(float),
        prefill_chunk=chunk,
        prefill_kv=kv,
        prefill_s=per_kv_token_s * (chunk[:, None] + kv).astype(float),
        floor_s=np.zeros(3),
        extra_s=np.zeros(3),
        flops_per_token=1e10,
        peak_flops_per_s=1e15,
    )


def random_prices(rng: np.random.Generator, tokens: int, seqs: int, longest: int = LONGEST) -> PriceList:
    """Returns a list without any shape: other knots in every dimension, times that rise and fall, floors that bind at times."""

    def knots(last: int, step: int, first: int) -> NDArray[np.int64]:
        inner = rng.integers(1, max(last // step, 2), size=int(rng.integers(0, 4))) * step
        return np.unique(np.concatenate([[first, max(-(-last // step), first + 1) * step], inner])).astype(np.int64)

    batch, chunk = knots(max(seqs, 2), 1, 1), knots(max(tokens, 2), 1, 1)
    decode_kv, prefill_kv = knots(longest, 64, 0), knots(longest, 64, 0)
    return PriceList(
        token_s=np.cumsum(rng.random((3, tokens + 1)), axis=1) * 2e-4 + 1e-3,
        sample_s=np.cumsum(rng.random(seqs + 1)) * 1e-4,
        decode_batch=batch,
        decode_kv=decode_kv,
        decode_s=rng.random((len(batch), len(decode_kv))) * 1e-2,
        prefill_chunk=chunk,
        prefill_kv=prefill_kv,
        prefill_s=rng.random((len(chunk), len(prefill_kv))) * 1e-2,
        floor_s=rng.random(3) * 2e-2 * rng.integers(2),
        extra_s=rng.random(3) * 1e-2 * rng.integers(2),
        flops_per_token=1e10,
        peak_flops_per_s=1e15,
    )


def random_traffic(
    rng: np.random.Generator, count: int, spread_s: float, prompt: int = 200, output: int = 80, together: int = 1
) -> Traffic:
    """Returns requests of up to so many tokens over `spread_s` seconds, `together` at each instant, in three priorities."""
    instants = np.sort(rng.random(-(-count // together))) * spread_s
    return Traffic(
        arrival_s=np.repeat(instants, together)[:count],
        prompt_tokens=rng.integers(1, prompt + 1, count),
        output_tokens=rng.integers(1, output + 1, count),
        priority=rng.integers(0, 3, count),
        rate_rps=1.0,
    )


@st.composite
def cases(draw: st.DrawFn, schedulers: tuple[str, ...] = ("vllm_v1", "sarathi_serve"), replicas: int = 3, most: int = 40) -> Case:
    """Returns a strategy of cases: roomy and tight pools, low load and bursts, every knob; some requests never fit."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    scheduler = draw(st.sampled_from(schedulers))
    seqs = draw(st.integers(1, 32), label="max_num_seqs")
    tokens = max(seqs, draw(st.integers(1, 300), label="max_num_batched_tokens"))
    block_size = draw(st.sampled_from([1, 4, 16]))
    longest = draw(st.sampled_from([256, LONGEST]))
    by_priority = scheduler == "vllm_v1" and draw(st.booleans(), label="by_priority")
    threshold = draw(st.sampled_from([0, 0, 7, 50])) if scheduler == "vllm_v1" else 0
    linear = draw(st.booleans(), label="linear")
    prices = linear_prices(3.1e-3, 2.3e-5, 1.7e-8, tokens, seqs, longest) if linear else random_prices(rng, tokens, seqs, longest)
    # Requests of one instant and priority can preempt each other for ever, in vLLM as here: apart, they cannot.
    together = 1 if by_priority else draw(st.integers(1, 4), label="together")
    spread_s = draw(st.sampled_from([1e-3 if by_priority else 0.0, 1.0, 20.0]), label="spread_s")
    return Case(
        scheduler=scheduler,
        price_list=prices,
        traffic=random_traffic(rng, draw(st.integers(1, most), label="requests"), spread_s, together=together),
        max_num_batched_tokens=tokens,
        max_num_seqs=seqs,
        block_size=block_size,
        max_model_len=longest,
        kv_blocks=draw(st.sampled_from([20, 30, 60, 1000]), label="blocks of 16") * 16 // block_size,
        long_prefill_token_threshold=threshold,
        reserve_full_isl=draw(st.booleans(), label="reserve_full_isl"),
        by_priority=by_priority,
        asynchronous=draw(st.booleans(), label="asynchronous"),
        replicas=draw(st.integers(1, replicas), label="replicas"),
    )
