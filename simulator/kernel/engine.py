"""The door to the compiled loop: numpy arrays in, numpy arrays out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import Infeasible
from simulator.kernel import gaps, loop
from simulator.kernel.jit import INTERPRETED, ready
from simulator.kernel.pricelist import KV_STEP, PriceList
from simulator.kernel.records import (
    CONFIG,
    FLIGHT,
    NOBODY,
    OUTCOME,
    PRICE_AT,
    REJECTED,
    REPLICA,
    REQUEST,
    STEP,
    WAITING,
    Prices,
    World,
)
from simulator.traffic import Traffic


@dataclass(frozen=True)
class Limits:
    """What the scheduler and the KV pool of one replica allow."""

    max_num_batched_tokens: int
    max_num_seqs: int
    block_size: int
    max_model_len: int
    kv_blocks: int
    watermark_blocks: int
    long_prefill_token_threshold: int
    reserve_full_isl: bool
    by_priority: bool
    asynchronous: bool
    counters: bool
    leaps: bool
    whole_prompt: bool


@dataclass(frozen=True)
class Run:
    """What the loop leaves behind: Request[N], Outcome[N], Replica[R], Gaps[bins], and which requests were refused."""

    requests: NDArray[Any]
    outcomes: NDArray[Any]
    replicas: NDArray[Any]
    gaps: NDArray[Any]
    rejected: NDArray[np.bool_]


def run(limits: Limits, prices: Prices, traffic: Traffic, arrival_s: NDArray[np.float64], fleet: Fleet) -> Run:
    """Returns the run of `traffic` arriving at `arrival_s` on the fleet.

    Raises Infeasible when requests preempt each other for ever, and RuntimeError when a scheduler breaks its contract.
    """
    requests, outcomes, rejected = _requests(limits, traffic, arrival_s)
    depth = 2 if limits.asynchronous else 1
    longest = int(traffic.output_tokens.max(initial=1))
    ring = 1 << (longest + 1).bit_length()
    world = World(
        config=_records(_config(limits, depth)),
        replicas=_records(_replicas(limits, fleet.replicas)),
        requests=_records(requests),
        outcomes=_records(outcomes),
        running=np.zeros((fleet.replicas, 2 * limits.max_num_seqs), dtype=np.int64),
        flights=_records(np.zeros((fleet.replicas, depth), dtype=FLIGHT)),
        flight_ids=np.zeros((fleet.replicas, depth, limits.max_num_seqs), dtype=np.int64),
        step=_records(np.zeros(1, dtype=STEP)),
        ends=np.full((fleet.replicas, ring), NOBODY, dtype=np.int64),
        due=np.zeros((fleet.replicas, limits.block_size), dtype=np.int64),
        peak_steps=np.zeros((fleet.replicas, ring), dtype=np.int64),
        peak_gaps=np.zeros((fleet.replicas, ring)),
        router_state=np.zeros(8, dtype=np.int64),
        gaps=_records(gaps.empty()),
        prices=prices,
    )
    status = ready(loop.run)(world, ready(fleet.schedule), ready(fleet.route))
    if status == loop.BARREN:
        raise Infeasible(f"requests preempt each other for ever: {loop.MOST_BARREN_STEPS:,} steps in a row gave no token")
    if status != loop.DONE:
        raise RuntimeError(_CAUSES[status])
    return Run(requests, outcomes, world.replicas, world.gaps, rejected)


@dataclass(frozen=True)
class Fleet:
    """So many equal replicas under one batching policy, behind one router."""

    replicas: int
    schedule: Any
    route: Any


_CAUSES = {
    loop.STALLED: "the scheduler left requests for ever: nothing was scheduled while nothing was due to arrive",
    loop.OUT_OF_TABLE: "the scheduler built a batch larger than the price list",
}


def prices_of(price_list: PriceList, limits: Limits) -> Prices:
    """Returns the arrays that the kernel reads, with a look-up from every batch, chunk and KV length to its knot."""
    kv_steps = np.arange(limits.max_model_len // KV_STEP + 2) * KV_STEP
    tokens = price_list.token_s.shape[1]
    values, where = _packed(
        token=price_list.token_s,
        sample=price_list.sample_s,
        floor=price_list.floor_s,
        extra=price_list.extra_s,
        decode=price_list.decode_s,
        decode_batches=price_list.decode_batch,
        decode_kvs=price_list.decode_kv,
        prefill=price_list.prefill_s,
        prefill_chunks=price_list.prefill_chunk,
        prefill_kvs=price_list.prefill_kv,
    )
    slots, slots_where = _packed(
        batch_slots=_slots(price_list.decode_batch, np.arange(limits.max_num_seqs + 1)),
        decode_kv_slots=_slots(price_list.decode_kv, kv_steps),
        chunk_slots=_slots(price_list.prefill_chunk, np.arange(tokens)),
        prefill_kv_slots=_slots(price_list.prefill_kv, kv_steps),
    )
    at = np.zeros(1, dtype=PRICE_AT)
    sizes = {
        "tokens": tokens,
        "samples": len(price_list.sample_s),
        "decode_columns": len(price_list.decode_kv),
        "prefill_columns": len(price_list.prefill_kv),
    }
    for name, number in {**where, **slots_where, **sizes}.items():
        at[name] = number
    return Prices(_records(at), values.astype(np.float64), slots.astype(np.int64))


def _packed(**tables: NDArray[Any]) -> tuple[NDArray[Any], dict[str, int]]:
    """Returns all tables one after another in one array, and by name where each begins."""
    sizes = np.array([table.size for table in tables.values()])
    begins = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    return np.concatenate([table.ravel() for table in tables.values()]), dict(zip(tables, map(int, begins), strict=True))


def _slots(knots: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns for each value the knot at its left, never the last one, so that a cell's right edge exists."""
    if len(knots) < 2:
        raise ValueError("a price table needs two knots at least")
    place = np.searchsorted(knots, values, side="right") - 1
    return np.clip(place, 0, len(knots) - 2).astype(np.int64)


def _requests(
    limits: Limits, traffic: Traffic, arrival_s: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    count = len(traffic)
    requests = np.zeros(count, dtype=REQUEST)
    requests["arrived_at"] = arrival_s
    requests["first_scheduled_at"] = np.nan
    requests["prompt_tokens"] = requests["known_tokens"] = traffic.prompt_tokens
    requests["priority"] = traffic.priority
    requests["next"] = requests["previous"] = requests["born"] = NOBODY
    if limits.by_priority:
        requests["text_rank"][np.argsort(np.arange(count).astype(str), kind="stable")] = np.arange(count)
    outcomes = np.zeros(count, dtype=OUTCOME)
    outcomes["first_token_at"] = outcomes["last_token_at"] = np.nan
    outcomes["output_tokens"] = traffic.output_tokens
    outcomes["replica"] = NOBODY
    total = traffic.prompt_tokens + traffic.output_tokens
    blocks = -(-total // limits.block_size)
    rejected = (total > limits.max_model_len) | (blocks > limits.kv_blocks - limits.watermark_blocks)
    requests["status"] = np.where(rejected, REJECTED, WAITING)
    return requests, outcomes, rejected


def _config(limits: Limits, depth: int) -> NDArray[Any]:
    config = np.zeros(1, dtype=CONFIG)
    config["max_num_batched_tokens"] = limits.max_num_batched_tokens
    config["max_num_seqs"] = limits.max_num_seqs
    config["block_size"] = limits.block_size
    config["long_prefill_token_threshold"] = limits.long_prefill_token_threshold
    config["reserve_full_isl"] = limits.reserve_full_isl
    config["by_priority"] = limits.by_priority
    config["watermark_blocks"] = limits.watermark_blocks
    config["steps_in_flight"] = depth
    config["counters"] = limits.counters
    config["leaps"] = limits.leaps
    config["whole_prompt"] = limits.whole_prompt
    return config


def _replicas(limits: Limits, count: int) -> NDArray[Any]:
    replicas = np.zeros(count, dtype=REPLICA)
    replicas["wake_at"] = np.inf
    replicas["total_blocks"] = replicas["free_blocks"] = limits.kv_blocks
    replicas["waiting_head"] = replicas["waiting_tail"] = replicas["partial"] = NOBODY
    replicas["counting"] = limits.counters
    return replicas


def _records(array: NDArray[Any]) -> Any:
    """Returns the array as it is for compiled code, and with attribute access for interpreted code."""
    return array.view(np.recarray) if INTERPRETED else array
