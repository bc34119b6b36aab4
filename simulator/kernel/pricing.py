"""Reading the price list inside the loop."""

from __future__ import annotations

from typing import Any

from simulator.kernel.jit import inner
from simulator.kernel.pricelist import DECODE_ONLY, KV_STEP, MIXED, PREFILL_ONLY


@inner
def between(table: Any, rows: Any, row: int, at_row: float, columns: Any, column: int, at_column: float) -> float:
    """Returns the bilinear interpolation of `table` in the cell whose lower corner is (row, column)."""
    across = (at_column - columns[column]) / (columns[column + 1] - columns[column])
    low = table[row, column] + across * (table[row, column + 1] - table[row, column])
    high = table[row + 1, column] + across * (table[row + 1, column + 1] - table[row + 1, column])
    down = (at_row - rows[row]) / (rows[row + 1] - rows[row])
    return float(low + down * (high - low))


@inner
def decode_seconds(prices: Any, decodes: int, kv_sum: int) -> float:
    """Returns seconds of decode attention for so many decodes over so many KV tokens in all."""
    mean = kv_sum / decodes
    row = prices.batch_slot[decodes]
    column = prices.decode_kv_slot[int(mean) // KV_STEP]
    return between(prices.decode_s, prices.decode_batch, row, float(decodes), prices.decode_kv, column, mean)


@inner
def chunk_seconds(prices: Any, chunk: int, kv_before: int) -> float:
    """Returns seconds of prefill attention for one chunk after so many computed tokens."""
    row = prices.chunk_slot[chunk]
    column = prices.prefill_kv_slot[kv_before // KV_STEP]
    return between(prices.prefill_s, prices.prefill_chunk, row, float(chunk), prices.prefill_kv, column, float(kv_before))


@inner
def step_seconds(prices: Any, tokens: int, chunks: int, chunks_s: float, decodes: int, kv_sum: int, sampled: int) -> float:
    """Returns seconds of one iteration from its summary."""
    kind = DECODE_ONLY
    if chunks > 0:
        kind = MIXED if decodes > 0 else PREFILL_ONLY
    seconds = prices.token_s[kind, tokens] + chunks_s + prices.sample_s[sampled]
    if decodes > 0:
        seconds += decode_seconds(prices, decodes, kv_sum)
    return float(max(seconds, prices.floor_s[kind]) + prices.extra_s[kind])
