"""Random price lists, traffic and deployments, and the strategy that draws cases of everything the simulator can do."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulator import catalog
from simulator.content import Content
from simulator.kernel import engine
from simulator.kernel.pricelist import PriceList
from simulator.traffic import Traffic
from tests import naive
from tests.invariants import laws
from tests.invariants.playing import LONGEST, Case

SCHEDULERS = tuple(catalog.names("schedulers"))
VLLM = ("vllm_v1",)
# Routers that the oracle knows as well.
ROUTERS = tuple(name for name in naive.ROUTERS if name in catalog.names("routers"))
RESERVING = tuple(name for name in SCHEDULERS if catalog.module("schedulers", name, "scheduler").RESERVES)
# Options that are not the defaults, small enough for the cases' budgets.
OPTIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "sarathi": ({"tile_size": 0}, {"tile_size": 16, "chunk_size": 40}, {"reserve_max_model_len": False, "tile_size": 32}),
    "vllm_v0": ({"spare_block": True},),
    "sarathi_serve": (
        {"spare_block": True},
        {"batching": "chunked_only"},
        {"batching": "hybrid_only"},
        {"low_chunk_size": 32, "high_chunk_size": 128, "chunk_schedule_max_tokens": 200, "chunk_schedule_stages": 3},
    ),
    "lightllm": ({"max_waiting_iters": 2}, {"max_new_tokens": 60, "max_waiting_iters": 0}),
    "sglang": ({"enable_mixed_chunk": True}, {"max_new_tokens": 30}, {"schedule_conservativeness": 0.3, "max_prefill_tokens": 150}),
}

FRONTENDS = (engine.Frontend(3e-3, 1e-5, 0.0), engine.Frontend(1e-3, 0.0, 1e-4))


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


def random_prices(rng: np.random.Generator, tokens: int, seqs: int, longest: int = LONGEST, merged: bool = False) -> PriceList:
    """Returns a list without any shape: other knots in every dimension, times that rise and fall, floors that bind at times.

    With `merged` the chunks of a step are priced together, over the KV of all of them, and KV lengths are rounded up.
    """

    def knots(last: int, step: int, first: int) -> NDArray[np.int64]:
        inner = rng.integers(1, max(last // step, 2), size=int(rng.integers(0, 4))) * step
        return np.unique(np.concatenate([[first, max(-(-last // step), first + 1) * step], inner])).astype(np.int64)

    batch, chunk = knots(max(seqs, 2), 1, 1), knots(max(tokens, 2), 1, 1)
    decode_kv, prefill_kv = knots(longest, 64, 0), knots(longest * seqs if merged else longest, 64, 0)
    return PriceList(
        token_s=np.cumsum(rng.random((3, tokens + 1)), axis=1) * 2e-4 + 1e-3,
        sample_s=np.cumsum(rng.random(seqs + 1)) * 1e-4,
        decode_batch=batch,
        decode_kv=decode_kv,
        decode_s=rng.random((len(batch), len(decode_kv))) * 1e-2,
        mixed_decode_s=rng.random((len(batch), len(decode_kv))) * 1e-2,
        mixed_pair_s=float(rng.choice([0.0, 1e-6])),
        fused=float(rng.choice([0.0, 0.0, 0.44, 1.0])),
        prefill_chunk=chunk,
        prefill_kv=prefill_kv,
        prefill_s=rng.random((len(chunk), len(prefill_kv))) * 1e-2,
        floor_s=rng.random(3) * 2e-2 * rng.integers(2),
        extra_s=rng.random(3) * 1e-2 * rng.integers(2),
        flops_per_token=1e10,
        peak_flops_per_s=1e15,
        kv_quantum=64 if merged else 0,
        merged_prefill=merged,
        prefill_factor=1.1 if merged else 1.0,
    )


def staged(prices: PriceList, shares: list[float]) -> PriceList:
    """Returns the prices of a pipeline whose stages have these shares of the layers, and send what they computed on."""
    hops = np.arange(prices.token_s.shape[1]) * 1e-6 * (np.arange(len(shares)) < len(shares) - 1)[:, None]
    return replace(prices, stage_share=np.array(shares), stage_token_s=hops.astype(np.float64))


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


def inserted(traffic: Traffic, place: int, prompt: int, output: int) -> Traffic:
    """Returns traffic without sessions or shared prefixes, and in it one request more, at the time of the one before it."""
    return Traffic(
        arrival_s=np.insert(traffic.arrival_s, place, traffic.arrival_s[max(place - 1, 0)]),
        prompt_tokens=np.insert(traffic.prompt_tokens, place, prompt),
        output_tokens=np.insert(traffic.output_tokens, place, output),
        priority=np.insert(traffic.priority, place, 0),
        rate_rps=traffic.rate_rps,
    )


def with_shared_prefixes(rng: np.random.Generator, traffic: Traffic, block_size: int) -> Traffic:
    """Returns the traffic where most requests begin with some of the blocks of an earlier one."""
    blocks = (traffic.prompt_tokens + traffic.output_tokens) // block_size
    ids: list[list[int]] = []
    fresh = 0
    for count in blocks.tolist():
        other = ids[int(rng.integers(len(ids)))] if ids and rng.random() < 0.8 else []
        shared = other[: min(int(rng.integers(len(other) + 1)), count)]
        ids.append([*shared, *range(fresh, fresh + count - len(shared))])
        fresh += count - len(shared)
    starts = np.concatenate([[0], np.cumsum(blocks)]).astype(np.int64)
    return replace(traffic, content=Content(np.array(list(chain.from_iterable(ids)), dtype=np.int64), starts, block_size))


def in_sessions(rng: np.random.Generator, traffic: Traffic) -> Traffic:
    """Returns the traffic where some requests follow an earlier one, each at most one, a while after its end."""
    after = np.full(len(traffic), -1, dtype=np.int64)
    session = np.arange(len(traffic))
    for i in range(1, len(traffic)):
        other = int(rng.integers(i))
        if rng.random() < 0.5 and other not in after:
            after[i], session[i] = other, session[other]
    arrival_s = np.where(after >= 0, 0.0, traffic.arrival_s)
    think_s = np.where(after >= 0, rng.random(len(traffic)) * rng.choice([1e-3, 0.5]), 0.0)
    return replace(traffic, arrival_s=arrival_s, after=after, session=session, think_s=think_s)


def with_impatience(rng: np.random.Generator, traffic: Traffic) -> Traffic:
    """Returns the traffic where some users, and some operators, drop a request after a while."""
    never = rng.random(len(traffic)) < 0.6
    return replace(
        traffic,
        cancel_after_s=np.where(never, np.inf, rng.exponential(0.5, len(traffic))),
        expires=rng.random(len(traffic)) < 0.5,
    )


@st.composite
def cases(draw: st.DrawFn, schedulers: tuple[str, ...] = SCHEDULERS, replicas: int = 3, most: int = 40) -> Case:
    """Returns a strategy of single engines and fleets: roomy and tight pools, low load and bursts; some never fit."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    scheduler = draw(st.sampled_from(schedulers), label="scheduler")
    longest = draw(st.sampled_from([256, LONGEST]), label="longest")
    seqs = draw(st.integers(1, 32), label="max_num_seqs")
    options = draw(st.sampled_from([{}, {}, *OPTIONS.get(scheduler, ())]), label="options")
    least = longest if options.get("batching") == "hybrid_only" else 128 if options.get("high_chunk_size") else seqs
    block_size = draw(st.sampled_from([1, 4, 16]), label="block_size")
    # A chunk of SGLang's fills whole blocks.
    tokens = max(seqs, least, block_size, draw(st.integers(1, 300), label="max_num_batched_tokens"))
    by_priority = scheduler in VLLM and draw(st.booleans(), label="by_priority")
    threshold = draw(st.sampled_from([0, 0, 7, 50]), label="threshold") if scheduler in VLLM else 0
    largest = seqs * longest if scheduler in laws.WITHOUT_BUDGET else tokens
    prices = (
        linear_prices(3.1e-3, 2.3e-5, 1.7e-8, largest, seqs, longest)
        if draw(st.booleans(), label="linear")
        else random_prices(rng, largest, seqs, longest)
    )
    # Where every request takes a slot, the pool has to hold one.
    blocks = draw(st.sampled_from([20, 30, 60, 1000]), label="blocks of 16") * 16 // block_size
    if scheduler in RESERVING:
        blocks = max(blocks, -(-longest // block_size))
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
        kv_blocks=blocks,
        long_prefill_token_threshold=threshold,
        reserve_full_isl=draw(st.booleans(), label="reserve_full_isl"),
        by_priority=by_priority,
        asynchronous=draw(st.booleans(), label="asynchronous"),
        prefix_caching=draw(st.booleans(), label="prefix_caching"),
        replicas=draw(st.integers(1, replicas), label="replicas"),
        router=draw(st.sampled_from(ROUTERS), label="router"),
        options=options,
    )


@st.composite
def any_cases(draw: st.DrawFn, schedulers: tuple[str, ...] = SCHEDULERS, most: int = 40) -> Case:
    """Returns a strategy of everything: pipelines, groups, shared prefixes, sessions, impatience, queues before and behind."""
    case = draw(cases(schedulers, most=most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="second seed"))
    traffic, prices = case.traffic, case.price_list
    if case.prefix_caching and draw(st.booleans(), label="shared prefixes"):
        traffic = with_shared_prefixes(rng, traffic, case.block_size)
    if draw(st.booleans(), label="sessions"):
        traffic = in_sessions(rng, traffic)
    if draw(st.booleans(), label="impatience"):
        traffic = with_impatience(rng, traffic)
    if case.scheduler not in laws.WITHOUT_BUDGET and draw(st.booleans(), label="merged"):
        prices = random_prices(rng, case.max_num_batched_tokens, case.max_num_seqs, case.max_model_len, merged=True)
    shares = draw(st.sampled_from([[1.0], [1.0], [0.5, 0.5], [0.2, 0.5, 0.3], [0.1, 0.3, 0.4, 0.2]]), label="stages")
    return replace(
        case,
        traffic=traffic,
        price_list=staged(prices, shares) if len(shares) > 1 else prices,
        group=draw(st.sampled_from([1, 1, 2, 3]), label="group"),
        frontend=draw(
            st.sampled_from([engine.Frontend(), engine.Frontend(), *FRONTENDS]),
            label="frontend",
        ),
    )
