"""The records of one idle engine in front of no requests, as policies and kernels take them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.kernel.engine import Limits
from simulator.kernel.jit import INTERPRETED
from simulator.kernel.records import BLOCK, BY_CONTENT, CONFIG, NOBODY, REPLICA, REQUEST, Cache


def config_of(limits: Limits) -> Any:
    """Returns Config[1]; blocks have an identity, so that the kernels' own table says where a request's KV lies."""
    config = np.zeros(1, dtype=CONFIG)
    values = {
        "max_num_batched_tokens": limits.max_num_batched_tokens,
        "max_num_seqs": limits.max_num_seqs,
        "micro_batch_seqs": max(limits.max_num_seqs // limits.pipeline_stages, 1)
        if limits.own_micro_batch
        else limits.max_num_seqs,
        "block_size": limits.block_size,
        "block_shift": limits.block_size.bit_length() - 1 if limits.block_size & (limits.block_size - 1) == 0 else NOBODY,
        "max_model_len": limits.max_model_len,
        "max_step_tokens": limits.max_num_seqs * limits.max_model_len,
        "long_prefill_token_threshold": limits.long_prefill_token_threshold,
        "reserve_full_isl": limits.reserve_full_isl,
        "by_priority": limits.by_priority,
        "watermark_blocks": limits.watermark_blocks,
        "steps_in_flight": limits.depth,
        "blind": limits.asynchronous and limits.pipeline_stages == 1,
        "pipeline_stages": limits.pipeline_stages,
        "group": 1,
        "own_micro_batch": limits.own_micro_batch,
        "prefix_caching": BY_CONTENT,
        "whole_prompt": limits.whole_prompt,
    }
    for name, value in values.items():
        config[name] = value
    config["options"][0, : len(limits.options)] = limits.options
    return as_records(config)


def replica_of(limits: Limits) -> Any:
    """Returns Replica[1] with all seats and blocks free."""
    replica = np.zeros(1, dtype=REPLICA)
    replica["seats"] = replica["free_seats"] = limits.max_num_seqs
    replica["block_size"] = limits.block_size
    replica["total_blocks"] = replica["free_blocks"] = replica["freed_blocks"] = limits.kv_blocks
    replica["free_tail"] = limits.kv_blocks - 1
    replica["waiting_head"] = replica["waiting_tail"] = NOBODY
    return as_records(replica)


def requests_of(count: int) -> Any:
    """Returns Request[count] as they are before they arrive."""
    requests = np.zeros(count, dtype=REQUEST)
    requests["first_scheduled_at"] = np.nan
    requests["cancel_after"] = np.inf
    for field in ("next", "previous", "born", "last_step", "hit_tokens", "follower", "preempted_before", "session"):
        requests[field] = NOBODY
    return as_records(requests)


def running_of(limits: Limits) -> NDArray[np.int64]:
    """Returns the running list, twice as long as it may be, and behind it the stack of free seats."""
    seats = limits.max_num_seqs
    running = np.zeros(3 * seats, dtype=np.int64)
    running[2 * seats :] = np.arange(seats)
    return running


def cache_of(limits: Limits, contents: int) -> Cache:
    """Returns an empty prefix cache with room for so many contents, all blocks in the free list."""
    blocks = np.zeros((1, limits.kv_blocks), dtype=BLOCK)
    blocks["content"] = blocks["twin"] = NOBODY
    blocks["previous"] = np.arange(limits.kv_blocks) - 1
    blocks["next"] = np.arange(limits.kv_blocks) + 1
    blocks["next"][:, -1] = NOBODY
    return Cache(
        contents=np.zeros(contents, dtype=np.int64),
        first=np.full((1, contents + limits.kv_blocks), NOBODY, dtype=np.int64),
        blocks=as_records(blocks),
        table=np.zeros((1, limits.max_num_seqs, limits.max_model_len // limits.block_size + 2), dtype=np.int64),
    )


def as_records(array: NDArray[Any]) -> Any:
    """Returns the array as it is for compiled code, and with attribute access for interpreted code."""
    return array.view(np.recarray) if INTERPRETED else array
