"""Where operators are priced: few enough points for a fast start, near enough that lines between them are true."""

from __future__ import annotations

import numpy as np

from simulator.kernel.pricelist import KV_STEP
from simulator.optime.operators import Ints
from simulator.optime.sources import Knots
from simulator.spec.deployment import Resolved

# Time over the length of a chunk is quadratic: eight knots from one power of two to the next keep the error of a line
# between two of them under 0.4 %.
STEPS_PER_OCTAVE = 8
DENSE_TOKENS = 64


def knots_of(deployment: Resolved, most_tokens: int) -> Knots:
    """Returns knots that span every iteration of the deployment with chunks of at most so many tokens."""
    last_kv = -(-deployment.max_model_len // KV_STEP) * KV_STEP
    sequences, tokens = max(2, deployment.max_num_seqs), max(2, most_tokens)
    kv_steps = np.append(0, union(last_kv // KV_STEP, octaves(1, last_kv // KV_STEP, 2)) * KV_STEP)
    return Knots(
        decode_batch=union(sequences, octaves(1, sequences, 1)),
        decode_kv=np.append(0, union(last_kv // KV_STEP, octaves(1, last_kv // KV_STEP, 1)) * KV_STEP),
        prefill_chunk=union(tokens, np.array([1, 16, 32]), octaves(DENSE_TOKENS, tokens)),
        prefill_kv=kv_steps,
    )


def octaves(first: int, last: int, steps: int = STEPS_PER_OCTAVE) -> Ints:
    """Returns whole numbers from `first` to `last`, as many from each power of two to the next."""
    exponents = np.arange(np.log2(first), np.log2(max(last, first)) + 1)
    lows = np.exp2(exponents)
    return np.unique((lows[:, None] * (1 + np.arange(steps) / steps)).astype(np.int64))


def union(last: int, *points: Ints) -> Ints:
    """Returns the points from 1 to `last`, ascending, with both ends among them."""
    every = np.unique(np.concatenate([np.array([1, last]), *points]))
    return every[(every >= 1) & (every <= last)].astype(np.int64)
