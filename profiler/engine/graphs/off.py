"""No graphs: every kernel is launched by the host."""

from __future__ import annotations

from torch import Tensor

from profiler.engine.batch import Batch
from profiler.engine.graphs import Compute
from profiler.engine.model import Model


def prepare(model: Model, pool: Tensor, scratch: int, most_bytes: int | None = None) -> Compute:
    """Returns the model over the pool."""

    def compute(batch: Batch) -> Tensor:
        logits: Tensor = model(batch, pool)
        return logits

    return compute
