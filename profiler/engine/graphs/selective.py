"""CUDA graphs where they pay, after PyGraph: a bucket's first step is timed with a graph and without, and the faster way stays."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from profiler.engine.batch import Batch
from profiler.engine.graphs import Compute
from profiler.engine.graphs._capture import Capture, Captured, check, cuda
from profiler.engine.graphs._choice import Measured, chosen
from profiler.engine.graphs._padding import Bucket, padded
from profiler.engine.graphs._replaying import Replaying
from profiler.engine.model import Model

REPEATS = 20
Timer = Callable[[Callable[[], object]], float]


def prepare(model: Model, pool: Tensor, scratch: int, most_bytes: int | None = None) -> Compute:
    """Returns the model over the pool by graphs that hold at most `most_bytes` (None: whatever they take).

    Raises InputError without CUDA, and for experts and groups, whose steps ask the host who goes where.
    """
    check(model, pool, "selective")
    return Selective(model, pool, scratch, cuda, seconds, most_bytes)


def seconds(call: Callable[[], object]) -> float:
    """Returns how long a call takes from the host's start to the device's end, in the mean of several."""
    call()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(REPEATS):
        call()
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / REPEATS


class Selective(Replaying):
    """The model over the pool by the way that was faster for each bucket; `report` says what was measured and chosen."""

    def __init__(
        self, model: Model, pool: Tensor, scratch: int, capture: Capture, timer: Timer, most_bytes: int | None = None
    ) -> None:
        super().__init__(model, pool, scratch, capture, mixed=True)
        self.measured: dict[Bucket, Measured] = {}
        self._timer, self._most_bytes = timer, most_bytes

    @property
    def report(self) -> list[tuple[object, ...]]:
        """A row for each bucket that was met, in the columns of `_choice.COLUMNS`."""
        return [self.measured[bucket].row(bucket in self.graphs) for bucket in sorted(self.measured)]

    def __call__(self, batch: Batch) -> Tensor:
        """Returns the logits of the rows that sample."""
        bucket = Bucket.of(batch)
        if not bucket.sensible:
            return self.eager(batch)
        if bucket in self.measured and bucket not in self.graphs:
            return self.eager(batch)
        filled = padded(batch, bucket, self.scratch)
        if bucket not in self.measured:
            self._measure(bucket, filled, batch)
        return self.replayed(self.graphs[bucket], filled, batch) if bucket in self.graphs else self.eager(batch)

    def _measure(self, bucket: Bucket, filled: Batch, batch: Batch) -> None:
        """Times both ways and gives up the graphs that are not worth their memory; one that was given up stays so."""
        eager_s = self._timer(lambda: self.eager(batch))
        try:
            graph: Captured = self._capture(self.eager, filled)
        except torch.OutOfMemoryError:
            self.measured[bucket] = Measured(bucket, eager_s, None, None, 0)
            return
        copy_s, replay_s = self._timer(lambda: graph.copy(filled)), self._timer(graph.replay)
        self.measured[bucket] = Measured(bucket, eager_s, copy_s, replay_s, graph.nbytes)
        kept = chosen(list(self.measured.values()), self._most_bytes)
        self.graphs = {each: one for each, one in {**self.graphs, bucket: graph}.items() if each in kept}
