"""Which graphs pay: by what a step takes with one and without, and by the memory that graphs may hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profiler.engine.graphs._padding import Bucket

COLUMNS = ("mixed", "rows", "kv", "sampled", "eager_s", "copy_s", "replay_s", "bytes", "kept")


@dataclass(frozen=True)
class Measured:
    """Seconds of a step of a bucket's sizes: launched kernel by kernel; copied to the graph's tensors, and replayed there.

    Those of a graph are None where it did not fit in memory.
    """

    bucket: Bucket
    eager_s: float
    copy_s: float | None
    replay_s: float | None
    nbytes: int

    @property
    def saved_s(self) -> float:
        """What a graph saves in a step; below 0 it costs."""
        if self.copy_s is None or self.replay_s is None:
            return 0.0
        return self.eager_s - self.copy_s - self.replay_s

    def row(self, kept: bool) -> tuple[object, ...]:
        """Returns the measurement and the choice, in the order of COLUMNS."""
        bucket = self.bucket
        sizes = bucket.mixed, bucket.rows, bucket.kv, bucket.sampled
        return (*sizes, self.eager_s, self.copy_s, self.replay_s, self.nbytes, kept)


def chosen(measured: Sequence[Measured], most_bytes: int | None = None) -> frozenset[Bucket]:
    """Returns the buckets whose graphs save time: within `most_bytes` those that save the most a byte."""
    left = float("inf") if most_bytes is None else most_bytes
    kept = set()
    for each in sorted(measured, key=lambda one: one.saved_s / max(one.nbytes, 1), reverse=True):
        if each.saved_s > 0 and each.nbytes <= left:
            kept.add(each.bucket)
            left -= each.nbytes
    return frozenset(kept)
