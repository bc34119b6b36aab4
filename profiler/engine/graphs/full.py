"""CUDA graphs for all steps: chunks are computed row by row, as decodes are, so that steps of as many tokens are alike."""

from __future__ import annotations

from torch import Tensor

from profiler.engine.graphs import Compute
from profiler.engine.graphs._capture import check, cuda
from profiler.engine.graphs._replaying import Replaying
from profiler.engine.model import Model


def prepare(model: Model, pool: Tensor, scratch: int, most_bytes: int | None = None) -> Compute:
    """Returns the model over the pool; steps whose chunks see too much KV for that are launched kernel by kernel.

    Raises InputError without CUDA, and for experts and groups, whose steps ask the host who goes where.
    """
    check(model, pool, "full")
    return Replaying(model, pool, scratch, cuda, mixed=True)
