"""Rotary embedding of queries and keys."""

from __future__ import annotations

import torch

from profiler.machine import Machine, fused
from profiler.sample import Case, Place
from profiler.subject import Subject
from simulator.optime.operators import ITEM_BYTES, Memory


def prepare(subject: Subject, place: Place, machine: Machine) -> Case:
    """Returns the rotation of all heads of `rows` tokens, half against half."""
    operator, shard, (count,) = subject.operator, subject.shard, place
    assert isinstance(operator, Memory)
    width = shard.model.qk_rope_head_dim or shard.model.head_dim
    heads = round(operator.bytes_per_row / ITEM_BYTES[shard.dtype]) // (2 * width)
    rows = machine.random(count, heads, width, dtype=shard.dtype)
    cosine, sine = (machine.random(count, 1, width // 2, dtype=shard.dtype) for _ in range(2))
    return Case(lambda: _ROTATED(rows, cosine, sine), flush=False)  # type: ignore[operator]


def _rotated(rows: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    left, right = rows.chunk(2, dim=-1)
    return torch.cat((left * cosine - right * sine, right * cosine + left * sine), dim=-1)


_ROTATED = fused(_rotated)
