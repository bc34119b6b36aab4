"""Every step of a known kind by its graph, captured when its sizes are first met."""

from __future__ import annotations

from torch import Tensor

from profiler.engine.batch import Batch
from profiler.engine.graphs._capture import Capture, Captured
from profiler.engine.graphs._padding import Bucket, padded
from profiler.engine.model import Model


class Replaying:
    """The model over the pool by graphs: of steps of decodes alone, with `mixed` also of steps with chunks.

    What is left is launched kernel by kernel.
    """

    def __init__(self, model: Model, pool: Tensor, scratch: int, capture: Capture, *, mixed: bool) -> None:
        self.model, self.pool, self.scratch = model, pool, scratch
        self.graphs: dict[Bucket, Captured] = {}
        self._capture, self._mixed = capture, mixed

    def __call__(self, batch: Batch) -> Tensor:
        """Returns the logits of the rows that sample."""
        bucket = Bucket.of(batch)
        if not bucket.sensible or (bucket.mixed and not self._mixed):
            return self.eager(batch)
        filled = padded(batch, bucket, self.scratch)
        if bucket not in self.graphs:
            self.graphs[bucket] = self._capture(self.eager, filled)
        return self.replayed(self.graphs[bucket], filled, batch)

    def eager(self, batch: Batch) -> Tensor:
        """Returns the logits, every kernel being launched by the host."""
        logits: Tensor = self.model(batch, self.pool)
        return logits

    @staticmethod
    def replayed(graph: Captured, filled: Batch, batch: Batch) -> Tensor:
        """Returns a batch's logits by a graph of its bucket."""
        graph.copy(filled)
        return graph.replay()[: batch.sampled.shape[0]]
