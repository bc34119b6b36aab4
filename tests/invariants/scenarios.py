"""A fixed set of cases that every scheduler is put through: each makes another part of it work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from simulator import catalog
from simulator.content import Content
from simulator.kernel import engine
from simulator.traffic import Traffic
from tests.invariants.cases import (
    Case,
    in_sessions,
    linear_prices,
    random_prices,
    random_traffic,
    staged,
    with_impatience,
    with_shared_prefixes,
)


def scenarios(scheduler: str) -> dict[str, Case]:
    """Returns the cases of single engines and plain fleets by name, for one scheduler."""
    return {name: fitted(case) for name, case in _scenarios(scheduler)}


def fleets(scheduler: str) -> dict[str, Case]:
    """Returns the cases of everything else by name, for one scheduler."""
    return {name: fitted(case) for name, case in _fleets(scheduler)}


def small(scheduler: str) -> dict[str, Case]:
    """Returns those that preempt, and some of everything else, short enough for an interpreter."""
    chosen = {**scenarios(scheduler), **fleets(scheduler)}
    names = ("tight pool", "asynchronous, tight pool", "tiny blocks", "shared prefixes, tight pool", "everything")
    return {name: first_of(chosen[name], 24) for name in names}


def fitted(case: Case) -> Case:
    """Returns the case with a pool that holds a slot where every request takes one, and prices for its longest step."""
    policy = case.policy
    if policy.RESERVES:
        slot = -(-case.max_model_len // case.block_size)
        case = replace(case, kv_blocks=max(case.kv_blocks, 3 * slot))
    if policy.RESERVES and not policy.CHUNKS:
        prices = linear_prices(5e-3, 2e-5, 1e-8, tokens=case.max_num_seqs * case.max_model_len, seqs=case.max_num_seqs)
        shares = case.price_list.stage_share.tolist()
        case = replace(case, price_list=staged(prices, shares) if len(shares) > 1 else prices)
    return case


def _scenarios(scheduler: str) -> Iterator[tuple[str, Case]]:
    rng = np.random.default_rng(7)
    linear = linear_prices(5e-3, 2e-5, 1e-8, tokens=256, seqs=16)
    rugged = random_prices(rng, tokens=256, seqs=16)
    burst = random_traffic(rng, 60, 0.0)
    plain = Case(scheduler, rugged, random_traffic(rng, 60, 2.0), max_num_batched_tokens=96)
    chunks = catalog.module("schedulers", scheduler, "scheduler").CHUNKS
    if not chunks:
        plain = replace(plain, max_num_batched_tokens=256)
    tight = replace(plain, kv_blocks=40)
    yield "low load", replace(plain, traffic=random_traffic(rng, 40, 60.0), price_list=linear)
    yield "all at once, seats bind", replace(plain, traffic=burst, max_num_seqs=4)
    yield "budget binds", replace(plain, max_num_batched_tokens=20 if chunks else 200)
    yield "tight pool", tight
    yield "tight pool, first chunk must fit", replace(tight, reserve_full_isl=False, max_num_batched_tokens=48 if chunks else 256)
    yield "tiny blocks", replace(tight, kv_blocks=640, block_size=1, price_list=linear)
    yield "asynchronous", replace(plain, asynchronous=True)
    yield "asynchronous, tight pool", replace(tight, asynchronous=True)
    yield "tight pool, cached", replace(tight, prefix_caching=True)
    yield "fleet", replace(tight, replicas=3, traffic=random_traffic(rng, 90, 1.0, together=3))
    yield "by priority", replace(tight, by_priority=scheduler == "vllm_v1")
    together = random_traffic(rng, 45, 2.0, together=3)
    yield "by priority, some at one instant", replace(tight, by_priority=scheduler == "vllm_v1", traffic=together)
    yield "single tokens", replace(plain, traffic=replace(burst, output_tokens=np.ones(60, dtype=np.int64)))
    yield "some never fit", replace(plain, traffic=_some_long(burst))


def _fleets(scheduler: str) -> Iterator[tuple[str, Case]]:
    rng = np.random.default_rng(8)
    plain = Case(scheduler, random_prices(rng, 256, 16), random_traffic(rng, 60, 2.0), max_num_batched_tokens=256)
    tight = replace(plain, kv_blocks=40)
    two, three = staged(plain.price_list, [0.5, 0.5]), staged(plain.price_list, [0.2, 0.5, 0.3])
    front = engine.Frontend(2e-3, 1e-5, 1e-4)
    shared = with_shared_prefixes(rng, plain.traffic, 16)
    yield "pipeline", replace(plain, price_list=two)
    yield "asynchronous pipeline", replace(plain, price_list=two, asynchronous=True)
    yield "uneven pipeline, tight pool", replace(tight, price_list=three)
    yield "groups", replace(plain, group=2, replicas=2)
    yield "groups of pipelines", replace(tight, group=2, replicas=2, price_list=two)
    yield "sessions", replace(plain, traffic=in_sessions(rng, plain.traffic))
    yield "impatience", replace(tight, traffic=with_impatience(rng, plain.traffic))
    yield "queues before and behind", replace(plain, frontend=front)
    yield "shared prefixes", replace(plain, traffic=shared, prefix_caching=True)
    yield "shared prefixes, tight pool", replace(tight, traffic=shared, prefix_caching=True)
    yield "asynchronous, shared prefixes, tight pool", replace(tight, traffic=shared, prefix_caching=True, asynchronous=True)
    traffic = with_impatience(rng, in_sessions(rng, shared))
    yield "everything", replace(tight, traffic=traffic, prefix_caching=True, price_list=three, group=2, frontend=front)


def _some_long(traffic: Traffic) -> Traffic:
    """Returns the traffic with every seventh prompt longer than any deployment here allows."""
    prompts = traffic.prompt_tokens.copy()
    prompts[::7] = 5_000
    return replace(traffic, prompt_tokens=prompts)


def first_of(case: Case, count: int) -> Case:
    """Returns the case with its first requests."""
    traffic, content = case.traffic, case.traffic.content
    names = ("arrival_s", "prompt_tokens", "output_tokens", "priority", "class_of", "session", "after", "think_s")
    columns = {name: getattr(traffic, name)[:count] for name in (*names, "cancel_after_s", "expires", "row")}
    if isinstance(content, Content):
        content = replace(content, ids=content.ids[: content.starts[count]], starts=content.starts[: count + 1])
    return replace(case, traffic=replace(traffic, **columns, content=content))
