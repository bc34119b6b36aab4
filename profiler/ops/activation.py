"""The activation of an MLP: gate and product, or without a gate alone."""

from __future__ import annotations

import torch
from torch.nn.functional import gelu, silu

from profiler.machine import Machine, fused
from profiler.sample import Case, Place
from profiler.subject import Subject
from simulator.optime.operators import ITEM_BYTES, Memory


def prepare(subject: Subject, place: Place, machine: Machine) -> Case:
    """Returns the activation of `rows` rows, as wide as its bytes say."""
    operator, shard, (count,) = subject.operator, subject.shard, place
    assert isinstance(operator, Memory)
    passes = 3 if shard.model.gated_mlp else 2
    width = round(operator.bytes_per_row / ITEM_BYTES[shard.dtype]) // passes
    rows = machine.random(count, (passes - 1) * width, dtype=shard.dtype)
    if shard.model.gated_mlp:
        return Case(lambda: _GATED(rows), flush=False)  # type: ignore[operator]
    return Case(lambda: gelu(rows), flush=False)


def _gated(rows: torch.Tensor) -> torch.Tensor:
    gate, up = rows.chunk(2, dim=-1)
    return silu(gate) * up


_GATED = fused(_gated)
