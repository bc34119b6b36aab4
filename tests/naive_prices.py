"""What an iteration costs by a price list, read the obvious way: the oracle's own, which uses nothing of the simulator."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Work:
    """One request's part in a step: tokens, tokens computed before, whether it has sampled since it was last admitted."""

    tokens: int
    before: int
    decoding: bool


# Seconds by stage of the pipeline, of a step's work and the sequences that it samples for.
Clock = Callable[[Sequence[Work], int], list[float]]


def clock(prices: Any) -> Clock:
    """Returns the price list as a function; what is a function already is returned as it is."""
    return prices if callable(prices) else lambda work, sampled: stage_seconds(prices, work, sampled)


def stage_seconds(prices: Any, work: Sequence[Work], sampled: int) -> list[float]:
    """Returns the seconds of each stage."""
    chunks, decodes = split(prices, work)
    kind = (2 if decodes else 1) if chunks else 0
    tokens = sum(w.tokens for w in work)
    prefill, decode = prefill_seconds(prices, chunks), decode_seconds(prices, decodes, bool(chunks))
    decode += getattr(prices, "mixed_pair_s", 0.0) * len(decodes) * sum(chunk.tokens for chunk in chunks)
    layers = float(prices.token_s[kind][tokens]) + prefill + decode - getattr(prices, "fused", 0.0) * min(prefill, decode)
    shares = getattr(prices, "stage_share", [1.0])
    seconds = []
    for stage, share in enumerate(shares):
        own = float(share) * layers
        if len(shares) > 1:
            own += float(prices.stage_token_s[stage][tokens])
        if stage == len(shares) - 1:
            own += float(prices.sample_s[sampled])
        seconds.append(max(own, float(share) * float(prices.floor_s[kind])) + float(prices.extra_s[kind]))
    return seconds


def split(prices: Any, work: Sequence[Work]) -> tuple[list[Work], list[Work]]:
    """Returns the prefill chunks and the decodes; one token counts as a decode unless chunks are priced together."""
    merged = getattr(prices, "merged_prefill", False)
    decodes = [w for w in work if w.tokens == 1 and (w.decoding or not merged)]
    return [w for w in work if w not in decodes], decodes


def prefill_seconds(prices: Any, chunks: Sequence[Work]) -> float:
    """Returns seconds of prefill attention, chunk by chunk or as one chunk with the same sum of squares."""
    if not chunks:
        return 0.0
    if getattr(prices, "merged_prefill", False):
        length = round(math.sqrt(sum(chunk.tokens**2 for chunk in chunks)))
        before = sum(rounded(prices, chunk.before) for chunk in chunks)
        factor = float(prices.prefill_factor) if len(chunks) > 1 else 1.0
        return factor * bilinear(prices.prefill_s, prices.prefill_chunk, prices.prefill_kv, length, before)
    return sum(
        bilinear(prices.prefill_s, prices.prefill_chunk, prices.prefill_kv, chunk.tokens, rounded(prices, chunk.before))
        for chunk in chunks
    )


def decode_seconds(prices: Any, decodes: Sequence[Work], mixed: bool) -> float:
    """Returns seconds of decode attention, by the number of decodes and the mean of their KV, the new token counted."""
    if not decodes:
        return 0.0
    mean = sum(decode.before + 1 for decode in decodes) / len(decodes)
    if getattr(prices, "kv_quantum", 0):
        mean = rounded(prices, int(mean))
    table = getattr(prices, "mixed_decode_s", prices.decode_s) if mixed else prices.decode_s
    return bilinear(table, prices.decode_batch, prices.decode_kv, len(decodes), mean)


def rounded(prices: Any, kv: int) -> int:
    """Returns a KV length rounded up as the list wants it."""
    quantum = getattr(prices, "kv_quantum", 0)
    return math.ceil(kv / quantum) * quantum if quantum else kv


def bilinear(table: Any, rows: Any, columns: Any, row: float, column: float) -> float:
    """Returns the table's value at (row, column), linear in each between the knots around it."""
    i, across = cell(rows, row)
    j, along = cell(columns, column)
    corners = (
        (1 - across) * (1 - along) * table[i][j],
        (1 - across) * along * table[i][j + 1],
        across * (1 - along) * table[i + 1][j],
        across * along * table[i + 1][j + 1],
    )
    return float(sum(corners))


def cell(knots: Any, value: float) -> tuple[int, float]:
    """Returns the knot at the left of a value, and how far along to the next one it lies, from 0 to 1."""
    place = min(bisect_right(knots, value) - 1, len(knots) - 2)
    return place, float((value - knots[place]) / (knots[place + 1] - knots[place]))
