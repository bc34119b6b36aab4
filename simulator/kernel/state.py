"""All state of one run, as the class `World` of arrays, and the prices of its steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import from_dtype, types

from simulator.kernel.records import (
    CACHE_TYPE,
    CLOCK,
    CONFIG,
    EVENT,
    FLIGHT,
    JOURNAL,
    LANE,
    OUTCOME,
    PEAK,
    REPLICA,
    REQUEST,
    STEP,
    TALLY,
)

PRICE_AT = np.dtype(
    [
        *(
            (name, "i8")
            for name in (
                *("token", "tokens", "sample", "samples", "floor", "extra"),
                *("decode", "mixed_decode", "decode_columns", "decode_batches", "decode_kvs", "batch_slots", "decode_kv_slots"),
                *("prefill", "prefill_columns", "prefill_chunks", "prefill_kvs", "chunk_slots", "prefill_kv_slots"),
                *("decode_batch_rates", "decode_kv_rates", "prefill_chunk_rates", "prefill_kv_rates"),
                *("stages", "stage_share", "stage_token", "kv_quantum", "merged_prefill"),
                *("last_batch", "last_decode_kv", "last_prefill_kv"),
            )
        ),
        ("prefill_factor", "f8"),
        ("mixed_pair", "f8"),
        ("fused", "f8"),
    ],
    align=True,
)


class Prices(NamedTuple):
    """A PriceList in two arrays, and where each of its tables begins in them."""

    at: Any  # PriceAt[1]
    values: Any  # float64: the tables row by row, and the knots
    slots: Any  # int64: from a batch, a chunk or a KV length to the knot at its left


class World(NamedTuple):
    """All state of one run; R engines, L lanes each, N requests in order of arrival."""

    config: Any  # Config
    clock: Any  # Clock[1]
    replicas: Any  # Replica[R]
    lanes: Any  # Lane[R x L]
    requests: Any  # Request[N]
    outcomes: Any  # Outcome[N]
    running: Any  # int64[R, (3 + depth) x seats]: the running list (twice as long as it may be), a stack of free seats,
    # and for each flight who gets a token when it lands, beside its `decodes`
    flights: Any  # Flight[R, depth]
    steps: Any  # Step[R]: the summary of the step that is being decided
    rings: Any  # int64[R x L, ring + block size]: under counters, the requests that get their last token in a step, by step
    # modulo ring; then the decodes that need a block in a step, by step modulo block size
    peaks: Any  # Peak[R x L, ring]: see peaks.py
    tallies: Any  # Tally: inter-token gaps by bin, steps by their number of requests, steps by their tokens
    events: Any  # Event: a heap of what happens outside the engines, beside the requests that arrive by themselves
    router_state: Any  # int64
    journal: Any  # Journal
    cache: Any
    prices: Any


_F, _I, _I2 = types.float64[::1], types.int64[::1], types.int64[:, ::1]
_NamedTupleType: Any = types.NamedTuple
PRICES_TYPE = _NamedTupleType((from_dtype(PRICE_AT)[::1], _F, _I), Prices)
WORLD_TYPE = _NamedTupleType(
    (
        from_dtype(CONFIG)[::1],
        from_dtype(CLOCK)[::1],
        from_dtype(REPLICA)[::1],
        from_dtype(LANE)[::1],
        from_dtype(REQUEST)[::1],
        from_dtype(OUTCOME)[::1],
        _I2,
        from_dtype(FLIGHT)[:, ::1],
        from_dtype(STEP)[::1],
        _I2,
        from_dtype(PEAK)[:, ::1],
        from_dtype(TALLY)[::1],
        from_dtype(EVENT)[::1],
        _I,
        from_dtype(JOURNAL)[::1],
        CACHE_TYPE,
        PRICES_TYPE,
    ),
    World,
)
