"""The records that kernels share, and the signatures of the two kinds of policy.

A policy sees Config, Replica and Request; the true output lengths lie in Outcome, which it is never given.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import from_dtype, types

Record = Any
WAITING, RUNNING, FINISHED, REJECTED = 0, 1, 2, 3
NOBODY = -1

CONFIG = np.dtype(
    [
        ("max_num_batched_tokens", "i8"),
        ("max_num_seqs", "i8"),
        ("block_size", "i8"),
        ("long_prefill_token_threshold", "i8"),
        ("reserve_full_isl", "i8"),
        ("by_priority", "i8"),
        ("watermark_blocks", "i8"),
        ("steps_in_flight", "i8"),
        ("counters", "i8"),  # the policy lets steps be decided from counters alone
        ("leaps", "i8"),  # stretches of pure decode are skipped
        ("whole_prompt", "i8"),  # a prompt's blocks are all taken at its admission
    ],
    align=True,
)
REQUEST = np.dtype(
    [
        ("arrived_at", "f8"),
        ("first_scheduled_at", "f8"),
        ("prompt_tokens", "i8"),
        ("known_tokens", "i8"),  # prompt and outputs so far, a token in flight included
        ("computed_tokens", "i8"),
        ("scheduled_tokens", "i8"),  # in the step that is being decided
        ("blocks", "i8"),
        ("status", "i8"),
        ("decoding", "i8"),  # has sampled since it was last admitted
        ("exhausted", "i8"),  # all of its tokens are in flight: there is nothing left to schedule
        ("priority", "i8"),
        ("text_rank", "i8"),  # place of its id among all ids as text: the engine's last tie-break
        ("preemptions", "i8"),
        ("next", "i8"),
        ("previous", "i8"),
        ("born", "i8"),  # under counters: the step that made it a decode, and the tokens sampled by then
        ("sampled_at_birth", "i8"),
    ],
    align=True,
)
REPLICA = np.dtype(
    [
        ("wake_at", "f8"),
        ("device_free_at", "f8"),
        ("busy_s", "f8"),
        ("block_seconds", "f8"),
        ("total_blocks", "i8"),
        ("free_blocks", "i8"),
        ("num_running", "i8"),
        ("num_waiting", "i8"),
        ("waiting_head", "i8"),
        ("waiting_tail", "i8"),
        ("preempted_now", "i8"),
        ("in_flight", "i8"),
        ("oldest", "i8"),
        ("landed_at", "f8"),
        ("counting", "i8"),  # whether the state below is valid, or that of the records
        ("listed", "i8"),  # entries of running, those of finished requests included
        ("partial", "i8"),  # the one request whose prompt is part-done
        ("decodes", "i8"),
        ("kv_sum", "i8"),  # computed tokens of all decodes
        ("phase", "i8"),  # number of the step modulo the block size
        ("peaks_first", "i8"),
        ("peaks_end", "i8"),
        ("iterations", "i8"),
        ("barren", "i8"),  # steps since the last one that sampled a token
        ("scheduled_requests", "i8"),
        ("scheduled_tokens", "i8"),
        ("sampled_tokens", "i8"),
    ],
    align=True,
)
OUTCOME = np.dtype(
    [
        ("first_token_at", "f8"),
        ("last_token_at", "f8"),
        ("itl_max", "f8"),
        ("output_tokens", "i8"),
        ("produced", "i8"),
        ("in_flight", "i8"),
        ("replica", "i8"),
    ],
    align=True,
)
FLIGHT = np.dtype([("end_at", "f8"), ("count", "i8"), ("decodes", "i8"), ("step", "i8")], align=True)
STEP = np.dtype(
    [
        ("chunks_s", "f8"),
        ("scheduled", "i8"),
        ("tokens", "i8"),
        ("chunks", "i8"),
        ("decodes", "i8"),
        ("kv_sum", "i8"),
        ("sampled", "i8"),
        ("named", "i8"),  # sampled requests whose ids lie in the flight
    ],
    align=True,
)
GAPS = np.dtype([("count", "i8"), ("sum_s", "f8")], align=True)

PRICE_AT = np.dtype(
    [
        (name, "i8")
        for name in (
            *("token", "tokens", "sample", "samples", "floor", "extra"),
            *("decode", "decode_columns", "decode_batches", "decode_kvs", "batch_slots", "decode_kv_slots"),
            *("prefill", "prefill_columns", "prefill_chunks", "prefill_kvs", "chunk_slots", "prefill_kv_slots"),
        )
    ],
    align=True,
)

# schedule(config, replica, requests, running): sets scheduled_tokens, grows and releases blocks, moves requests
# between running[:replica.num_running] and the waiting list. running keeps the order of admission.
SCHEDULE = types.void(from_dtype(CONFIG), from_dtype(REPLICA), from_dtype(REQUEST)[::1], types.int64[::1])
# route(state, replicas, requests, request) -> replica; state is the router's own memory, zero at the start.
ROUTE = types.int64(types.int64[::1], from_dtype(REPLICA)[::1], from_dtype(REQUEST)[::1], types.int64)


class Prices(NamedTuple):
    """A PriceList in two arrays, and where each of its tables begins in them."""

    at: Any  # PriceAt[1]
    values: Any  # float64: the tables row by row, and the knots
    slots: Any  # int64: from a batch, a chunk or a KV length to the knot at its left


class World(NamedTuple):
    """All state of one run."""

    config: Any  # Config
    replicas: Any  # Replica[R]
    requests: Any  # Request[N], in order of arrival
    outcomes: Any  # Outcome[N]
    running: Any  # int64[R, 2 x max_num_seqs]
    flights: Any  # Flight[R, depth]
    flight_ids: Any  # int64[R, depth, max_num_seqs]: who gets a token when the flight lands, beside its `decodes`
    step: Any  # Step[1]: the summary of the step that is being decided
    ends: Any  # int64[R, ring]: under counters, the requests that get their last token in a step, by step modulo ring
    due: Any  # int64[R, block_size]: decodes that need a block in a step, by step modulo block size
    peak_steps: Any  # int64[R, ring], peak_gaps: float64[R, ring]: see peaks.py
    peak_gaps: Any
    router_state: Any  # int64[8]
    gaps: Any  # Gaps[bins]
    prices: Any


_F, _I, _F2, _I2 = types.float64[::1], types.int64[::1], types.float64[:, ::1], types.int64[:, ::1]
_NamedTupleType: Any = types.NamedTuple
PRICES_TYPE = _NamedTupleType((from_dtype(PRICE_AT)[::1], _F, _I), Prices)
WORLD_TYPE = _NamedTupleType(
    (
        from_dtype(CONFIG)[::1],
        from_dtype(REPLICA)[::1],
        from_dtype(REQUEST)[::1],
        from_dtype(OUTCOME)[::1],
        types.int64[:, ::1],
        from_dtype(FLIGHT)[:, ::1],
        types.int64[:, :, ::1],
        from_dtype(STEP)[::1],
        _I2,
        _I2,
        _I2,
        _F2,
        _I,
        from_dtype(GAPS)[::1],
        PRICES_TYPE,
    ),
    World,
)
