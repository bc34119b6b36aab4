"""Attention of a step in parts: decodes and chunks by calls of their own, or a mixed step's by one call for both."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from profiler.engine.batch import Batch


class Decode(Protocol):
    """Attention of decodes."""

    def __call__(self, query: Tensor, keys: Tensor, values: Tensor, slots: Tensor, lengths: Tensor) -> Tensor:
        """Returns [D, heads, dim] of D decodes over the first lengths[D] of slots[D, most]."""


class Prefill(Protocol):
    """Attention of one chunk."""

    def __call__(self, query: Tensor, keys: Tensor, values: Tensor, slots: Tensor) -> Tensor:
        """Returns [n, heads, dim] of the last n of the tokens in `slots`."""


class Mixed(Protocol):
    """Attention of decodes and of one chunk in one call, as POD-Attention fuses them."""

    def __call__(self, query: Tensor, keys: Tensor, values: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Returns [D, heads, dim] of the batch's decodes and [n, heads, dim] of its first chunk."""


def in_parts(
    query: Tensor, keys: Tensor, values: Tensor, batch: Batch, decode: Decode, prefill: Prefill, mixed: Mixed | None = None
) -> Tensor:
    """Returns [T, heads, dim]; a step with decodes and chunks goes through `mixed`, without it through two calls."""
    out = torch.empty_like(query)
    decodes, chunks = batch.decodes, batch.chunks
    if mixed is not None and decodes > 0 and chunks:
        first = slice(chunks[0].start, chunks[0].start + chunks[0].length)
        out[:decodes], out[first] = mixed(query, keys, values, batch)
        chunks = chunks[1:]
    elif decodes > 0:
        out[:decodes] = decode(query[:decodes], keys, values, batch.decode_slots, batch.decode_lengths)
    for chunk in chunks:
        rows = slice(chunk.start, chunk.start + chunk.length)
        out[rows] = prefill(query[rows], keys, values, chunk.slots)
    return out
