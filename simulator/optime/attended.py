"""Attention operators: one call of a kernel over paged KV, by heads or over a compressed latent (operators.py has the rest)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.optime.operators import ITEM_BYTES, Floats, Ints, Operator
from simulator.spec.device import Dtype


@dataclass(frozen=True, eq=False)
class PrefillAttention(Operator):
    """Causal attention of one sequence: `chunk` new tokens after `kv_before` cached ones, the mask at the bottom right."""

    chunk: Ints
    kv_before: Ints
    heads: int
    kv_heads: int
    head_dim: int
    dtype: Dtype
    kv_dtype: Dtype | None = None
    window: int | None = None

    @property
    def tokens(self) -> Ints:
        """The new tokens of every point."""
        return self.chunk

    @property
    def flops(self) -> Floats:
        """Multiplications and additions of the scores and of the weighted sum, over the unmasked pairs."""
        return 4.0 * self.heads * self.head_dim * self.pairs

    @property
    def pairs(self) -> Floats:
        """Unmasked pairs of a query and a key; with a window a query sees at most so many keys, itself counted."""
        chunk, before = self.chunk.astype(np.float64), self.kv_before.astype(np.float64)
        if self.window is None:
            return chunk * before + chunk * (chunk + 1.0) / 2
        # The first `growing` queries see one key more each than the one before them, the rest a whole window.
        growing = np.clip(self.window - before, 0.0, chunk)
        return growing * before + growing * (growing + 1.0) / 2 + (chunk - growing) * self.window

    @property
    def keys(self) -> Floats:
        """Keys that some query sees."""
        every = self.kv_before.astype(np.float64) + self.chunk
        return every if self.window is None else np.minimum(every, self.chunk + self.window - 1.0)

    @property
    def bytes(self) -> Floats:
        """Bytes of queries, outputs, keys and values, each moved once."""
        rows = ITEM_BYTES[self.dtype] * 2.0 * self.chunk * self.heads
        return self.head_dim * (rows + ITEM_BYTES[self.kv_dtype or self.dtype] * 2.0 * self.keys * self.kv_heads)


@dataclass(frozen=True, eq=False)
class DecodeAttention(Operator):
    """Attention of `batch` sequences with one new token each and `kv_mean` tokens of KV, the new one counted.

    `beside_chunk` asks for what the decodes add to the attention of a chunk of so many tokens: one kernel then serves
    both. A source that does not know answers as without.
    """

    batch: Ints
    kv_mean: Floats
    heads: int
    kv_heads: int
    head_dim: int
    dtype: Dtype
    kv_dtype: Dtype | None = None
    window: int | None = None
    beside_chunk: int = 0

    @property
    def tokens(self) -> Ints:
        """The decodes of every point."""
        return self.batch

    @property
    def flops(self) -> Floats:
        """Multiplications and additions of the scores and of the weighted sum."""
        return 4.0 * self.heads * self.head_dim * self.batch * self.keys

    @property
    def keys(self) -> Floats:
        """Mean keys that a query sees; with a window at most so many, itself counted."""
        return self.kv_mean if self.window is None else np.minimum(self.kv_mean, self.window)

    @property
    def bytes(self) -> Floats:
        """Bytes of queries, outputs, keys and values, each moved once."""
        rows = ITEM_BYTES[self.dtype] * 2.0 * self.batch * self.heads
        return self.head_dim * (rows + ITEM_BYTES[self.kv_dtype or self.dtype] * 2.0 * self.batch * self.keys * self.kv_heads)


@dataclass(frozen=True, eq=False)
class LatentPrefill(Operator):
    """Causal multi-head latent attention of one chunk, keys and values expanded (DeepSeek-V2, arXiv 2405.04434, 2.1).

    `heads` of this GPU with queries and keys of `qk_head_dim` (rotary part included) and values of `v_head_dim`; cached
    are `latent_dim` numbers a token, compressed KV and rotary key together, which all heads share.
    """

    chunk: Ints
    kv_before: Ints
    heads: int
    qk_head_dim: int
    v_head_dim: int
    latent_dim: int
    dtype: Dtype
    kv_dtype: Dtype | None = None

    @property
    def tokens(self) -> Ints:
        """The new tokens of every point."""
        return self.chunk

    @property
    def flops(self) -> Floats:
        """Multiplications and additions of the scores and of the weighted sum, over the unmasked pairs."""
        pairs = 1.0 * self.chunk * self.kv_before + self.chunk * (self.chunk + 1.0) / 2
        return 2.0 * self.heads * (self.qk_head_dim + self.v_head_dim) * pairs

    @property
    def bytes(self) -> Floats:
        """Bytes of queries, outputs, keys and values, each moved once."""
        widths = 1.0 * self.heads * (self.qk_head_dim + self.v_head_dim)
        rows = 2.0 * self.chunk.astype(np.float64) + self.kv_before
        return ITEM_BYTES[self.dtype] * widths * rows


@dataclass(frozen=True, eq=False)
class LatentDecode(Operator):
    """Multi-head latent attention of `batch` decodes over the cached latents themselves, projections absorbed.

    `latent_dim` as in LatentPrefill, of which `v_dim` numbers (the compressed KV) are summed.
    """

    batch: Ints
    kv_mean: Floats
    heads: int
    latent_dim: int
    v_dim: int
    dtype: Dtype
    kv_dtype: Dtype | None = None

    @property
    def tokens(self) -> Ints:
        """The decodes of every point."""
        return self.batch

    @property
    def flops(self) -> Floats:
        """Multiplications and additions of the scores and of the weighted sum."""
        return 2.0 * self.heads * (self.latent_dim + self.v_dim) * self.batch * self.kv_mean

    @property
    def bytes(self) -> Floats:
        """Bytes of queries, outputs and latents, each moved once."""
        queries = ITEM_BYTES[self.dtype] * self.batch * self.heads * (self.latent_dim + self.v_dim)
        return queries + ITEM_BYTES[self.kv_dtype or self.dtype] * self.batch * self.kv_mean * self.latent_dim
