"""Operators: the shapes of one iteration's kernels on one GPU, with the work that each shape needs.

Every array field has one element a point to be priced. `tokens` is the extent by which a source that knows operators
by name and not by shape can answer: tokens, sequences sampled, decodes, or the tokens of a prefill chunk.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from simulator.spec.device import Dtype

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ITEM_BYTES: dict[Dtype, float] = {
    "float32": 4,
    "tf32": 4,
    "bfloat16": 2,
    "float16": 2,
    "fp8": 1,
    "int8": 1,
    "int4": 0.5,
    "nvfp4": 0.5,
}


@dataclass(frozen=True, eq=False)
class Operator:
    """One kernel that runs `count` times an iteration; its total is count times its seconds."""

    name: str
    count: int = field(default=1, kw_only=True)

    @property
    def tokens(self) -> Ints:
        """The extent of every point."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Gemm(Operator):
    """`m` rows times a weight of `k` rows and `n` columns."""

    m: Ints
    n: int
    k: int
    dtype: Dtype

    @property
    def tokens(self) -> Ints:
        """The rows of every point."""
        return self.m

    @property
    def flops(self) -> Floats:
        """Multiplications and additions."""
        return self.m.astype(np.float64) * (2.0 * self.n * self.k)

    @property
    def bytes(self) -> Floats:
        """Bytes of input, weight and output, each moved once."""
        return ITEM_BYTES[self.dtype] * (1.0 * self.m * self.k + 1.0 * self.k * self.n + 1.0 * self.m * self.n)


@dataclass(frozen=True, eq=False)
class PrefillAttention(Operator):
    """Causal attention of one sequence: `chunk` new tokens after `kv_before` cached ones, the mask at the bottom right."""

    chunk: Ints
    kv_before: Ints
    heads: int
    kv_heads: int
    head_dim: int
    dtype: Dtype

    @property
    def tokens(self) -> Ints:
        """The new tokens of every point."""
        return self.chunk

    @property
    def flops(self) -> Floats:
        """Multiplications and additions of the scores and of the weighted sum, over the unmasked pairs."""
        pairs = 1.0 * self.chunk * self.kv_before + self.chunk * (self.chunk + 1.0) / 2
        return 4.0 * self.heads * self.head_dim * pairs

    @property
    def bytes(self) -> Floats:
        """Bytes of queries, outputs, keys and values, each moved once."""
        rows = 2.0 * self.chunk * self.heads + 2.0 * (self.kv_before + self.chunk) * self.kv_heads
        return ITEM_BYTES[self.dtype] * self.head_dim * rows


@dataclass(frozen=True, eq=False)
class DecodeAttention(Operator):
    """Attention of `batch` sequences with one new token each and `kv_mean` tokens of KV, the new one counted."""

    batch: Ints
    kv_mean: Floats
    heads: int
    kv_heads: int
    head_dim: int
    dtype: Dtype

    @property
    def tokens(self) -> Ints:
        """The decodes of every point."""
        return self.batch

    @property
    def flops(self) -> Floats:
        """Multiplications and additions of the scores and of the weighted sum."""
        return 4.0 * self.heads * self.head_dim * self.batch * self.kv_mean

    @property
    def bytes(self) -> Floats:
        """Bytes of queries, outputs, keys and values, each moved once."""
        rows = 2.0 * self.batch * self.heads + 2.0 * self.batch * self.kv_mean * self.kv_heads
        return ITEM_BYTES[self.dtype] * self.head_dim * rows


@dataclass(frozen=True, eq=False)
class Memory(Operator):
    """A kernel that only moves bytes: a norm, an activation, rotary embedding, a KV write, sampling."""

    rows: Ints
    bytes_per_row: float

    @property
    def tokens(self) -> Ints:
        """The rows of every point."""
        return self.rows

    @property
    def flops(self) -> Floats:
        """None that count."""
        return np.zeros(self.rows.shape)

    @property
    def bytes(self) -> Floats:
        """Bytes read and written."""
        return self.rows.astype(np.float64) * self.bytes_per_row


@dataclass(frozen=True, eq=False)
class Collective(Operator):
    """An exchange of `rows` x `bytes_per_row` bytes, the size of its result, among `gpus`; `captured`: in a CUDA graph."""

    rows: Ints
    bytes_per_row: float
    gpus: int
    captured: bool = False

    @property
    def tokens(self) -> Ints:
        """The rows of every point."""
        return self.rows

    @property
    def bytes(self) -> Floats:
        """Bytes of the result on each GPU."""
        return self.rows.astype(np.float64) * self.bytes_per_row

    @property
    def link_bytes(self) -> Floats:
        """Bytes that each GPU must send at the least."""
        raise NotImplementedError


class AllReduce(Collective):
    """A sum of equal buffers that all GPUs get."""

    @property
    def link_bytes(self) -> Floats:
        """2 (n - 1) / n of the buffer, the volume of a reduce-scatter and an all-gather."""
        return 2.0 * (self.gpus - 1) / self.gpus * self.bytes


class AllGather(Collective):
    """Shards joined to one buffer that all GPUs get."""

    @property
    def link_bytes(self) -> Floats:
        """(n - 1) / n of the joined buffer."""
        return (self.gpus - 1) / self.gpus * self.bytes


@dataclass(frozen=True, eq=False)
class Transfer(Operator):
    """`rows` x `bytes_per_row` bytes that one pipeline stage sends to the next; a replica's `gpus` are neighbours."""

    rows: Ints
    bytes_per_row: float
    gpus: int

    @property
    def tokens(self) -> Ints:
        """The rows of every point."""
        return self.rows

    @property
    def bytes(self) -> Floats:
        """Bytes sent."""
        return self.rows.astype(np.float64) * self.bytes_per_row
