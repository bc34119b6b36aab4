"""The price list: all that the kernel knows of a GPU, an attention backend and a parallelism.

An iteration's time follows from its summary: scheduled tokens, decodes and the mean of their KV, each prefill chunk
and the KV before it, and the sequences sampled. Attention is read by bilinear interpolation between knots; all else is
one look-up. The layers of an iteration of a kind (decode only, prefill only, mixed) take

    layers = token_s[kind, tokens] + prefill attention + decode attention (of decodes alone, or beside a chunk)

and each stage of the pipeline its share of them, with what it does beside; the last stage samples:

    max(share x layers + stage_token_s[stage, tokens] + sample_s[sampled], share x floor_s[kind]) + extra_s[kind]
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

DECODE_ONLY, PREFILL_ONLY, MIXED = 0, 1, 2
KV_STEP = 64
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class PriceList:
    """Seconds of an iteration's parts, for the whole model on the GPUs of one engine.

    token_s[3, T + 1] by kind and scheduled tokens; sample_s[S + 1] by sequences sampled; decode_s[b, k] at
    decode_batch[b] decodes of mean KV decode_kv[k] (the new token counted), and mixed_decode_s[b, k] what they add to an
    iteration with chunks (empty: the same), and mixed_pair_s more for each decode and token of a chunk
    beside it, less `fused` of the shorter of the two where one kernel does both; prefill_s[c, k] for one chunk of
    prefill_chunk[c] tokens after prefill_kv[k] cached ones. Knots rise strictly; batches start at 1 and end at S or more;
    chunks start at 1 and end at T or more; KV knots are multiples of KV_STEP and start at 0.

    stage_share[p] is the share of the layers on each stage, stage_token_s[p, T + 1] what a stage does beside them (empty:
    nothing). With kv_quantum q > 0 the whole part of a mean KV, and the KV before a chunk, are rounded up to multiples of
    q. With merged_prefill the chunks of a step are priced as one of round(sqrt(sum of squares)) tokens after the sum of
    their rounded KV, times prefill_factor when there are several (Vidur, arXiv 2405.05465, section 4.3).

    weight_bytes and kv_bytes_per_token are read from memory in an iteration, by all GPUs of the engine together.
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
    stage_share: Floats = field(default_factory=lambda: np.ones(1))
    stage_token_s: Floats = field(default_factory=lambda: np.zeros((1, 0)))
    mixed_decode_s: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    mixed_pair_s: float = 0.0
    fused: float = 0.0
    kv_quantum: int = 0
    merged_prefill: bool = False
    prefill_factor: float = 1.0
    weight_bytes: float = 0.0
    kv_bytes_per_token: float = 0.0
    peak_bytes_per_s: float | None = None

    def __post_init__(self) -> None:
        if self.stage_token_s.size == 0:
            object.__setattr__(self, "stage_token_s", np.zeros((len(self.stage_share), self.token_s.shape[1])))
        if self.mixed_decode_s.size == 0:
            object.__setattr__(self, "mixed_decode_s", self.decode_s)
        for knots, first in ((self.decode_batch, 1), (self.prefill_chunk, 1), (self.decode_kv, 0), (self.prefill_kv, 0)):
            if knots[0] != first or np.any(np.diff(knots) <= 0):
                raise ValueError(f"knots must rise strictly from {first}: {knots[:4]}...")
        tables = (
            self.token_s,
            self.sample_s,
            self.decode_s,
            self.prefill_s,
            self.floor_s,
            self.extra_s,
            self.stage_token_s,
            self.mixed_decode_s,
        )
        for table in tables:
            if not np.all(np.isfinite(table)) or np.any(table < 0):
                raise ValueError("an operator time is negative or not finite")
        if not 0.0 <= self.mixed_pair_s < np.inf:
            raise ValueError(f"mixed_pair_s is {self.mixed_pair_s}")
        if not 0.0 <= self.fused <= 1.0:
            raise ValueError(f"fused is {self.fused}")
        if self.merged_prefill and self.kv_quantum < 1:
            raise ValueError("merged prefill needs a kv_quantum, 1 or more")
        if self.mixed_decode_s.shape != self.decode_s.shape:
            raise ValueError(f"mixed_decode_s has the shape {self.mixed_decode_s.shape}")
        if self.stage_token_s.shape != (len(self.stage_share), self.token_s.shape[1]):
            raise ValueError(f"stage_token_s has the shape {self.stage_token_s.shape}")
