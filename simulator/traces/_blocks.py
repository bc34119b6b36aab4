"""Which rows of a trace make up a run that is shorter or longer than the trace: blocks of consecutive rows.

Blocks, and not single rows, keep the bursts and the runs of similar requests that load a server (the moving block
bootstrap of Kuensch, Annals of Statistics 17, 1989, with circular blocks).
"""

from __future__ import annotations

import numpy as np

from simulator.traces import Ints

MOST_ROWS = 100
FEWEST_BLOCKS = 10


def block_length(rows: int) -> int:
    """Returns the rows of a block: 100, or a twentieth of a shorter trace."""
    return max(1, min(MOST_ROWS, rows // 20))


def resample(rows: int, count: int, rng: np.random.Generator) -> Ints:
    """Returns `count` row numbers of a trace of `rows` rows, int64[count], in blocks spread over the whole of it.

    More than `rows` are passes over the trace of about equal size. Each pass keeps the trace's order of blocks, so that
    its slow changes stay, and has one block at a random place of each of equal stretches, so that every part counts alike.
    """
    passes = -(-count // rows) if count else 0
    return np.concatenate([np.empty(0, np.int64), *(_pass(rows, part, rng) for part in _shares(count, passes))])


def _pass(rows: int, count: int, rng: np.random.Generator) -> Ints:
    blocks = max(-(-count // block_length(rows)), min(count, FEWEST_BLOCKS))
    starts = np.floor((np.arange(blocks) + rng.random(blocks)) * rows / blocks).astype(np.int64)
    # Sizes differ by one; tied to a place, the larger ones would favour it.
    sizes = rng.permutation(_shares(count, blocks))
    return np.concatenate([(start + np.arange(size)) % rows for start, size in zip(starts, sizes, strict=True)])


def _shares(total: int, parts: int) -> list[int]:
    """Returns `total` as a sum of `parts` numbers that differ by at most one."""
    return [total * (part + 1) // parts - total * part // parts for part in range(parts)]
