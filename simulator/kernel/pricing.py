"""Reading the price list inside the loop."""

from __future__ import annotations

import math
from typing import Any

from simulator.kernel.jit import inner
from simulator.kernel.pricelist import DECODE_ONLY, KV_STEP, MIXED, PREFILL_ONLY


@inner
def between(values: Any, cell: int, width: int, down: float, across: float) -> float:
    """Returns the bilinear interpolation in the cell whose lower corner is values[cell], in a table so many columns wide.

    The point lies `down` of the way from the cell's row to the next, and `across` of the way from its column.
    """
    low = values[cell] + across * (values[cell + 1] - values[cell])
    high = values[cell + width] + across * (values[cell + width + 1] - values[cell + width])
    return float(low + down * (high - low))


@inner
def decode_seconds(prices: Any, decodes: int, kv_sum: int, table: int) -> float:
    """Returns seconds of decode attention for so many decodes over so many KV tokens in all, by the table that begins there."""
    at, values, slots = prices.at[0], prices.values, prices.slots
    mean = kv_sum / decodes
    if at.kv_quantum > 0:
        mean = float((int(mean) + at.kv_quantum - 1) // at.kv_quantum * at.kv_quantum)
    row = slots[at.batch_slots + decodes]
    column = slots[at.decode_kv_slots + int(mean) // KV_STEP]
    cell = table + row * at.decode_columns + column
    # Divisions would be the dearest part, so that the list holds one over the knots' distances.
    down = (decodes - values[at.decode_batches + row]) * values[at.decode_batch_rates + row]
    across = (mean - values[at.decode_kvs + column]) * values[at.decode_kv_rates + column]
    return between(values, cell, at.decode_columns, down, across)


@inner
def chunk_seconds(prices: Any, chunk: int, kv_before: int) -> float:
    """Returns seconds of prefill attention for one chunk after so many computed tokens."""
    at, values, slots = prices.at[0], prices.values, prices.slots
    row = slots[at.chunk_slots + chunk]
    column = slots[at.prefill_kv_slots + kv_before // KV_STEP]
    cell = at.prefill + row * at.prefill_columns + column
    down = (chunk - values[at.prefill_chunks + row]) * values[at.prefill_chunk_rates + row]
    across = (kv_before - values[at.prefill_kvs + column]) * values[at.prefill_kv_rates + column]
    return between(values, cell, at.prefill_columns, down, across)


@inner
def merged_seconds(prices: Any, chunks: int, squares: int, kv_before: int) -> float:
    """Returns seconds of prefill attention for several chunks as if they were one of as many scores."""
    seconds = chunk_seconds(prices, int(math.sqrt(float(squares)) + 0.5), kv_before)
    return seconds * prices.at[0].prefill_factor if chunks > 1 else seconds


@inner
def kind_of(chunks: int, decodes: int) -> int:
    """Returns the kind of an iteration."""
    if chunks == 0:
        return DECODE_ONLY
    return MIXED if decodes > 0 else PREFILL_ONLY


@inner
def layer_seconds(prices: Any, tokens: int, chunks: int, chunks_s: float, decodes: int, kv_sum: int) -> float:
    """Returns seconds of all layers in one iteration."""
    at, values = prices.at[0], prices.values
    seconds = values[at.token + kind_of(chunks, decodes) * at.tokens + tokens] + chunks_s
    if decodes > 0:
        beside_s = decode_seconds(prices, decodes, kv_sum, at.mixed_decode if chunks > 0 else at.decode)
        if chunks > 0:
            beside_s += at.mixed_pair * decodes * (tokens - decodes)
            seconds -= at.fused * min(chunks_s, beside_s)
        seconds += beside_s
    return float(seconds)


@inner
def stage_seconds(prices: Any, stage: int, layers_s: float, tokens: int, chunks: int, decodes: int, sampled: int) -> float:
    """Returns seconds of one iteration on one stage of the pipeline; the last one samples."""
    at, values = prices.at[0], prices.values
    kind, share = kind_of(chunks, decodes), values[at.stage_share + stage]
    seconds = layers_s * share + values[at.stage_token + stage * at.tokens + tokens]
    if stage == at.stages - 1:
        seconds += values[at.sample + sampled]
    return float(max(seconds, values[at.floor + kind] * share) + values[at.extra + kind])
