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
    "mxfp4": 0.5,
}


def output_bytes(dtype: Dtype) -> float:
    """Returns the bytes of one element that a kernel writes: what is computed in less than 16 bits is written in 16."""
    return max(2.0, ITEM_BYTES[dtype])


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
    """`m` rows times a weight of `k` rows and `n` columns; the weight is stored in `weight_dtype`, by default in `dtype`."""

    m: Ints
    n: int
    k: int
    dtype: Dtype
    weight_dtype: Dtype | None = None

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
        item, weight = ITEM_BYTES[self.dtype], ITEM_BYTES[self.weight_dtype or self.dtype]
        return item * 1.0 * self.m * self.k + weight * 1.0 * self.k * self.n + output_bytes(self.dtype) * 1.0 * self.m * self.n


@dataclass(frozen=True, eq=False)
class Experts(Operator):
    """The routed experts' MLP of one layer on one GPU: `rows` tokens of all GPUs that share the experts, `top_k` each.

    The GPU holds `local_experts` of the layer's `experts`, each with `intermediate_size` of its width. `load` names the
    distribution of tokens over experts; with another one than `balanced` the times are those of the busiest GPU.
    """

    rows: Ints
    hidden_size: int
    intermediate_size: int
    experts: int
    local_experts: int
    top_k: int
    dtype: Dtype
    weight_dtype: Dtype | None = None
    gated: bool = True
    load: str = "balanced"

    @property
    def tokens(self) -> Ints:
        """The rows of every point."""
        return self.rows

    @property
    def assigned(self) -> Floats:
        """Rows times experts that fall on this GPU under a balanced load."""
        return self.rows.astype(np.float64) * self.top_k * self.local_experts / self.experts

    @property
    def activated(self) -> Floats:
        """The expected number of local experts that get a token, each token choosing anew: E (1 - (1 - k / E)^rows)."""
        idle: Floats = (1.0 - self.top_k / self.experts) ** self.rows.astype(np.float64)
        return self.local_experts * (1.0 - idle)

    @property
    def expert_elements(self) -> float:
        """The weights of one expert on this GPU."""
        return (3.0 if self.gated else 2.0) * self.hidden_size * self.intermediate_size

    @property
    def flops(self) -> Floats:
        """Multiplications and additions."""
        return 2.0 * self.assigned * self.expert_elements

    @property
    def bytes(self) -> Floats:
        """Bytes of the activated experts' weights, of the inputs and of the outputs, each moved once."""
        item, weight = ITEM_BYTES[self.dtype], ITEM_BYTES[self.weight_dtype or self.dtype]
        rows = self.assigned * self.hidden_size
        return self.activated * self.expert_elements * weight + rows * (item + output_bytes(self.dtype))


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


class AllToAll(Collective):
    """Rows sent each to the GPU that holds its expert; the result's size is that of what one GPU sends."""

    @property
    def link_bytes(self) -> Floats:
        """(n - 1) / n of what one GPU sends."""
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
