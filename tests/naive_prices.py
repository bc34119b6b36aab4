"""What an iteration costs by a price list, read the obvious way: the oracle's own, which uses nothing of the simulator."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any


def price(prices: Any, work: Sequence[tuple[int, int]], sampled: int) -> float:
    """Returns seconds of an iteration of (tokens, tokens computed before) by request; one token is priced as a decode."""
    decodes = [before + 1 for tokens, before in work if tokens == 1]
    chunks = [(tokens, before) for tokens, before in work if tokens > 1]
    kind = (2 if decodes else 1) if chunks else 0
    seconds = float(prices.token_s[kind][sum(tokens for tokens, _ in work)]) + float(prices.sample_s[sampled])
    for tokens, before in chunks:
        seconds += bilinear(prices.prefill_s, prices.prefill_chunk, prices.prefill_kv, tokens, before)
    if decodes:
        mean = sum(decodes) / len(decodes)
        seconds += bilinear(prices.decode_s, prices.decode_batch, prices.decode_kv, len(decodes), mean)
    return max(seconds, float(prices.floor_s[kind])) + float(prices.extra_s[kind])


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
