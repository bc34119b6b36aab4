"""Steps filled up to one of few sizes, so that a graph that was captured for a size serves all below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from profiler.engine.batch import Batch

# Chunks as rows gather the KV of a request once a row; beyond so many gathered tokens that is never worth a graph.
MOST_GATHERED = 1 << 18


@dataclass(frozen=True, order=True)
class Bucket:
    """Sizes that steps are filled up to: rows, the KV tokens that each sees, and rows that sample; all are powers of two."""

    mixed: bool
    rows: int
    kv: int
    sampled: int

    @staticmethod
    def of(batch: Batch) -> Bucket:
        """Returns the least sizes that hold a batch."""
        kv = max(batch.decode_slots.shape[1], *(len(chunk.slots) for chunk in batch.chunks), 1)
        return Bucket(bool(batch.chunks), size(batch.rows.shape[0]), size(kv), size(batch.sampled.shape[0]))

    @property
    def sensible(self) -> bool:
        """Whether a step of these sizes is small enough for chunks to be computed row by row."""
        return not self.mixed or self.rows * self.kv <= MOST_GATHERED


def size(count: int) -> int:
    """Returns the power of two from `count` up."""
    return 1 << max(count - 1, 0).bit_length()


def padded(batch: Batch, bucket: Bucket, scratch: int) -> Batch:
    """Returns a batch of the bucket's sizes, all of whose rows are decodes: of a chunk, each row sees what is before it.

    Rows beyond its own compute token 0 at place 0, alone with themselves, and leave their KV in the slot `scratch`; the
    logits of its own rows come first.
    """
    more = bucket.rows - batch.rows.shape[0]
    everybody = [
        _widened(batch.decode_slots, bucket.kv),
        *(_as_rows(chunk.slots, chunk.length, bucket.kv) for chunk in batch.chunks),
    ]
    lengths = [batch.decode_lengths, *(_seen(len(chunk.slots), chunk.length, batch.decode_lengths) for chunk in batch.chunks)]
    return replace(
        batch,
        rows=_filled([batch.rows], more, 0),
        positions=_filled([batch.positions], more, 0),
        slots=_filled([batch.slots], more, scratch),
        owners=_filled([batch.owners], more, 0),
        decode_slots=torch.cat([*everybody, batch.slots.new_full((more, bucket.kv), scratch)]),
        decode_lengths=_filled(lengths, more, 1),
        chunks=(),
        sampled=_filled([batch.sampled], bucket.sampled - batch.sampled.shape[0], 0),
    )


def _as_rows(slots: Tensor, rows: int, kv: int) -> Tensor:
    """Returns a chunk's slots once a row, [rows, kv]."""
    return _widened(slots[None], kv).expand(rows, -1)


def _seen(kv: int, rows: int, like: Tensor) -> Tensor:
    """Returns how many tokens each row of a chunk sees that ends with token number `kv`."""
    return torch.arange(kv - rows + 1, kv + 1, dtype=like.dtype, device=like.device)


def _widened(slots: Tensor, kv: int) -> Tensor:
    return functional.pad(slots, (0, kv - slots.shape[1]))


def _filled(parts: Sequence[Tensor], more: int, value: int) -> Tensor:
    return torch.cat([*parts, parts[0].new_full((more,), value)])
