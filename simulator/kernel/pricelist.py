"""The price list: all that the kernel knows of a GPU, an attention backend and a parallelism.

An iteration's time follows from its summary: scheduled tokens, decodes and the mean of their KV, each prefill chunk
and the KV before it, and the sequences sampled. Attention is read by bilinear interpolation between knots; all else is
one look-up. The time of an iteration of a kind (decode only, prefill only, mixed) is

    max(token_s[kind, tokens] + prefill attention + decode attention + sample_s[sampled], floor_s[kind]) + extra_s[kind]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DECODE_ONLY, PREFILL_ONLY, MIXED = 0, 1, 2
KV_STEP = 64
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class PriceList:
    """Seconds of an iteration's parts, for the whole model on the GPUs of one replica.

    token_s[3, T + 1] by kind and scheduled tokens; sample_s[S + 1] by sequences sampled; decode_s[b, k] at
    decode_batch[b] decodes of mean KV decode_kv[k] (the new token counted); prefill_s[c, k] for one chunk of
    prefill_chunk[c] tokens after prefill_kv[k] cached ones. Knots rise strictly; batches start at 1 and end at S or more;
    chunks start at 1 and end at T or more; KV knots are multiples of KV_STEP, start at 0 and end at max_model_len or more.
    """

    token_s: Floats
    sample_s: Floats
    decode_batch: Ints
    decode_kv: Ints
    decode_s: Floats
    prefill_chunk: Ints
    prefill_kv: Ints
    prefill_s: Floats
    floor_s: Floats
    extra_s: Floats
    flops_per_token: float
    peak_flops_per_s: float | None

    def __post_init__(self) -> None:
        for knots, first in ((self.decode_batch, 1), (self.prefill_chunk, 1), (self.decode_kv, 0), (self.prefill_kv, 0)):
            if knots[0] != first or np.any(np.diff(knots) <= 0):
                raise ValueError(f"knots must rise strictly from {first}: {knots[:4]}...")
        for table in (self.token_s, self.sample_s, self.decode_s, self.prefill_s, self.floor_s, self.extra_s):
            if not np.all(np.isfinite(table)) or np.any(table < 0):
                raise ValueError("an operator time is negative or not finite")
