"""A fixed set of cases that every scheduler is put through: each makes another part of it work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from simulator.traffic import Traffic
from tests.invariants.cases import Case, linear_prices, random_prices, random_traffic


def scenarios(scheduler: str) -> dict[str, Case]:
    """Returns the cases by name, for one scheduler."""
    return dict(_scenarios(scheduler))


def small(scheduler: str) -> dict[str, Case]:
    """Returns those that preempt, short enough for an interpreter."""
    chosen = scenarios(scheduler)
    return {name: _first(chosen[name], 24) for name in ("tight pool", "asynchronous, tight pool", "tiny blocks")}


def _scenarios(scheduler: str) -> Iterator[tuple[str, Case]]:
    rng = np.random.default_rng(7)
    linear = linear_prices(5e-3, 2e-5, 1e-8, tokens=256, seqs=16)
    rugged = random_prices(rng, tokens=256, seqs=16)
    burst = random_traffic(rng, 60, 0.0)
    plain = Case(scheduler, rugged, random_traffic(rng, 60, 2.0), max_num_batched_tokens=96)
    tight = replace(plain, kv_blocks=40)
    yield "low load", replace(plain, traffic=random_traffic(rng, 40, 60.0), price_list=linear)
    yield "all at once, seats bind", replace(plain, traffic=burst, max_num_seqs=4)
    yield "budget binds", replace(plain, max_num_batched_tokens=20)
    yield "tight pool", tight
    yield "tight pool, first chunk must fit", replace(tight, reserve_full_isl=False, max_num_batched_tokens=48)
    yield "tiny blocks", replace(tight, kv_blocks=640, block_size=1, price_list=linear)
    yield "asynchronous", replace(plain, asynchronous=True)
    yield "asynchronous, tight pool", replace(tight, asynchronous=True)
    yield "fleet", replace(tight, replicas=3, traffic=random_traffic(rng, 90, 1.0, together=3))
    yield "by priority", replace(tight, by_priority=True)
    yield "by priority, some at one instant", replace(tight, by_priority=True, traffic=random_traffic(rng, 45, 2.0, together=3))
    yield "single tokens", replace(plain, traffic=replace(burst, output_tokens=np.ones(60, dtype=np.int64)))
    yield "some never fit", replace(plain, traffic=_some_long(burst))


def _some_long(traffic: Traffic) -> Traffic:
    """Returns the traffic with every seventh prompt longer than any deployment here allows."""
    prompts = traffic.prompt_tokens.copy()
    prompts[::7] = 5_000
    return replace(traffic, prompt_tokens=prompts)


def _first(case: Case, count: int) -> Case:
    traffic = case.traffic
    columns = ("arrival_s", "prompt_tokens", "output_tokens", "priority")
    return replace(case, traffic=replace(traffic, **{name: getattr(traffic, name)[:count] for name in columns}))
