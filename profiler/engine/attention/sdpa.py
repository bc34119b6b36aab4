"""Attention by torch's scaled_dot_product_attention over KV gathered from the pool: decodes together, each chunk alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from profiler.engine.attention._split import in_parts
from profiler.engine.batch import Batch


def attend(query: Tensor, keys: Tensor, values: Tensor, batch: Batch) -> Tensor:
    """Returns [T, heads, dim]; decodes are padded to the longest of them, behind a mask."""
    return in_parts(query, keys, values, batch, decode, prefill)


def decode(query: Tensor, keys: Tensor, values: Tensor, slots: Tensor, lengths: Tensor) -> Tensor:
    """Returns [D, heads, dim] of D decodes over the first lengths[D] of slots[D, most]."""
    seen = torch.arange(slots.shape[1], device=slots.device)[None, :] < lengths[:, None]
    attended = functional.scaled_dot_product_attention(
        query[:, :, None, :],
        keys[slots].transpose(1, 2),
        values[slots].transpose(1, 2),
        attn_mask=seen[:, None, None, :],
        enable_gqa=query.shape[1] != keys.shape[1],
    )
    return attended[:, :, 0, :]


def prefill(query: Tensor, keys: Tensor, values: Tensor, slots: Tensor) -> Tensor:
    """Returns [n, heads, dim] of the last n of the tokens of a sequence whose KV lies in `slots`."""
    keys, values = keys[slots], values[slots]
    length, kv = query.shape[0], keys.shape[0]
    mask = None
    if length < kv:
        mask = torch.ones(length, kv, dtype=torch.bool, device=query.device).tril(kv - length)
    attended = functional.scaled_dot_product_attention(
        query.transpose(0, 1)[None],
        keys.transpose(0, 1)[None],
        values.transpose(0, 1)[None],
        attn_mask=mask,
        is_causal=mask is None,
        enable_gqa=query.shape[1] != keys.shape[1],
    )
    return attended[0].transpose(0, 1)
