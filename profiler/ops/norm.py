"""RMS norms: of the hidden state with its residual added first, of it alone, of query and key heads, of latents."""

from __future__ import annotations

import torch
from torch.nn.functional import rms_norm

from profiler.machine import Machine, fused
from profiler.sample import Case, Place
from profiler.subject import Subject
from simulator.optime.operators import ITEM_BYTES, Memory


def prepare(subject: Subject, place: Place, machine: Machine) -> Case:
    """Returns the norm of `rows` rows, as wide as its bytes say: two passes, or four with the residual."""
    operator, shard, (count,) = subject.operator, subject.shard, place
    assert isinstance(operator, Memory)
    passed = round(operator.bytes_per_row / ITEM_BYTES[shard.dtype])
    if passed == 4 * shard.model.hidden_size:
        return _with_residual(machine, count, shard.model.hidden_size, subject)
    width, heads = passed // 2, shard.model.head_dim
    shape = (count, width // heads, heads) if operator.name == "qk_norm" else (count, width)
    rows, scale = machine.random(*shape, dtype=shard.dtype), machine.random(shape[-1], dtype=shard.dtype)
    return Case(lambda: rms_norm(rows, shape[-1:], scale), flush=False)


def _with_residual(machine: Machine, count: int, width: int, subject: Subject) -> Case:
    dtype = subject.shard.dtype
    rows, residual = machine.random(count, width, dtype=dtype), machine.random(count, width, dtype=dtype)
    scale = machine.random(width, dtype=dtype)
    return Case(lambda: _ADDED(rows, residual, scale), flush=False)  # type: ignore[operator]


def _added(rows: torch.Tensor, residual: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    total = rows + residual
    return rms_norm(total, total.shape[-1:], scale), total


_ADDED = fused(_added)
