"""The load at which a deployment saturates, foretold from its price list: where a search for its capacity begins.

A full batch in balance: each of n running requests gives a token an iteration, and prompts come in at the rate at which
outputs end, so that an iteration holds n decodes and n x (mean prompt / mean output) prompt tokens. n is what seats, KV
blocks and the token budget allow; its rate is n / mean output over the iteration's time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.kernel.pricelist import MIXED
from simulator.run import Prepared, saturated_rate
from simulator.traffic import Traffic

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Saturation(NamedTuple):
    """Requests a second that a saturated fleet completes, and how many of them run at a time."""

    rate_rps: float
    running: float


def predict(prepared: Prepared, traffic: Traffic, replicas: int) -> Saturation:
    """Returns the saturation of so many replicas; raises Infeasible when every request is longer than they allow."""
    limits, prices = prepared.limits, prepared.price_list
    total = traffic.prompt_tokens + traffic.output_tokens
    fits = (total <= limits.max_model_len) & (total <= (limits.kv_blocks - limits.watermark_blocks) * limits.block_size)
    if not fits.any():
        rate = saturated_rate(prepared, traffic)
        return Saturation(rate * replicas, 1.0)
    prompts, outputs = traffic.prompt_tokens[fits], traffic.output_tokens[fits]
    prompt, output = float(prompts.mean()), float(outputs.mean())
    # A request holds KV for as long as it gives tokens: long outputs are met more often.
    held = float(np.dot(outputs, prompts + outputs / 2) / outputs.sum())
    stages = prepared.deployment.pipeline_parallel_size
    running = min(limits.max_num_seqs, limits.kv_blocks * limits.block_size / (held + limits.block_size / 2), len(prompts))
    batch = max(min(running / stages, limits.max_num_batched_tokens / (1 + prompt / output)), 1.0)
    incoming = batch * prompt / output
    chunk = max(min(prompt, incoming), 1.0)
    seconds = prices.token_s[MIXED, min(round(batch + incoming), prices.token_s.shape[1] - 1)]
    prompts_s = between(prices.prefill_s, prices.prefill_chunk, prices.prefill_kv, chunk, (prompt - chunk) / 2) * incoming / chunk
    seconds += prompts_s
    # Prompts come in chunks as large as may be, so that many steps are of decodes alone.
    mixed = min(incoming / max(min(prompt, limits.max_num_batched_tokens - batch), 1.0), 1.0)
    for part, table in ((mixed, prices.mixed_decode_s), (1.0 - mixed, prices.decode_s)):
        seconds += part * between(table, prices.decode_batch, prices.decode_kv, batch, held)
    seconds += prices.mixed_pair_s * batch * incoming
    if prices.fused:
        decodes_s = between(prices.mixed_decode_s, prices.decode_batch, prices.decode_kv, batch, held)
        seconds -= prices.fused * min(prompts_s, mixed * decodes_s)
    seconds += prices.sample_s[min(round(batch), len(prices.sample_s) - 1)]
    seconds = max(seconds, prices.floor_s[MIXED]) / stages + prices.extra_s[MIXED]
    engines = replicas * prepared.deployment.data_parallel_size
    return Saturation(float(batch / output / seconds) * engines, batch * stages * engines)


def between(table: Floats, rows: Ints, columns: Ints, row: float, column: float) -> float:
    """Returns the bilinear interpolation of table[row, column] between its knots, by the outermost cell beyond them."""
    i, up = _cell(rows, row)
    j, right = _cell(columns, column)
    low = table[i, j] + right * (table[i, j + 1] - table[i, j])
    high = table[i + 1, j] + right * (table[i + 1, j + 1] - table[i + 1, j])
    return float(low + up * (high - low))


def _cell(knots: Ints, value: float) -> tuple[int, float]:
    """Returns the knot at the left of a value, and how far the value lies beyond it in widths of the cell."""
    place = min(max(int(np.searchsorted(knots, value, side="right")) - 1, 0), len(knots) - 2)
    return place, float((value - knots[place]) / (knots[place + 1] - knots[place]))
