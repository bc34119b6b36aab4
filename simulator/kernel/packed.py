"""A PriceList as the two arrays that the kernel reads."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.kernel.jit import INTERPRETED
from simulator.kernel.pricelist import KV_STEP, PriceList
from simulator.kernel.state import PRICE_AT, Prices


def prices_of(price_list: PriceList, max_num_seqs: int, max_model_len: int) -> Prices:
    """Returns the arrays, with a look-up from every batch, chunk and KV length to its knot."""
    tokens = price_list.token_s.shape[1]
    decode_kv = np.arange(max(price_list.decode_kv[-1], max_model_len) // KV_STEP + 2) * KV_STEP
    prefill_kv = np.arange(max(price_list.prefill_kv[-1], max_model_len) // KV_STEP + 2) * KV_STEP
    values, where = _packed(
        token=price_list.token_s,
        sample=price_list.sample_s,
        floor=price_list.floor_s,
        extra=price_list.extra_s,
        decode=price_list.decode_s,
        mixed_decode=price_list.mixed_decode_s,
        decode_batches=price_list.decode_batch,
        decode_kvs=price_list.decode_kv,
        prefill=price_list.prefill_s,
        prefill_chunks=price_list.prefill_chunk,
        prefill_kvs=price_list.prefill_kv,
        decode_batch_rates=_rates(price_list.decode_batch),
        decode_kv_rates=_rates(price_list.decode_kv),
        prefill_chunk_rates=_rates(price_list.prefill_chunk),
        prefill_kv_rates=_rates(price_list.prefill_kv),
        stage_share=price_list.stage_share,
        stage_token=price_list.stage_token_s,
    )
    slots, slots_where = _packed(
        batch_slots=_slots(price_list.decode_batch, np.arange(max_num_seqs + 1)),
        decode_kv_slots=_slots(price_list.decode_kv, decode_kv),
        chunk_slots=_slots(price_list.prefill_chunk, np.arange(tokens)),
        prefill_kv_slots=_slots(price_list.prefill_kv, prefill_kv),
    )
    at = np.zeros(1, dtype=PRICE_AT)
    sizes: dict[str, float] = {
        "tokens": tokens,
        "samples": len(price_list.sample_s),
        "decode_columns": len(price_list.decode_kv),
        "prefill_columns": len(price_list.prefill_kv),
        "stages": len(price_list.stage_share),
        "kv_quantum": price_list.kv_quantum,
        "merged_prefill": price_list.merged_prefill,
        "prefill_factor": price_list.prefill_factor,
        "mixed_pair": price_list.mixed_pair_s,
        "fused": price_list.fused,
        "last_batch": int(price_list.decode_batch[-1]),
        "last_decode_kv": int(price_list.decode_kv[-1]),
        "last_prefill_kv": int(price_list.prefill_kv[-1]),
    }
    for name, number in {**where, **slots_where, **sizes}.items():
        at[name] = number
    packed: Any = at.view(np.recarray) if INTERPRETED else at
    return Prices(packed, values.astype(np.float64), slots.astype(np.int64))


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


def _rates(knots: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns one over the distance from each knot to the next; 0 after the last one."""
    return np.append(1.0 / np.diff(knots), 0.0)
