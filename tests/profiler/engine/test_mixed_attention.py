"""A backend that takes decodes and a chunk in one call gives what two calls give, and is asked only where both are there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.profiler.engine import hugging
from tests.profiler.engine.test_engine import alone, engine, serve
from tests.profiler.engine.test_model import CPU

torch = hugging.torch

from profiler.engine.attention import sdpa  # noqa: E402
from profiler.engine.attention._split import in_parts  # noqa: E402
from profiler.engine.batch import Batch, Part, lay_out  # noqa: E402
from profiler.engine.graphs._padding import Bucket, padded  # noqa: E402


class Fused:
    """Attends to decodes and the first chunk in one call, by taking the chunk's rows for decodes; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def attend(self, query: Any, keys: Any, values: Any, batch: Batch) -> Any:
        """Returns [T, heads, dim] as a backend does."""
        return in_parts(query, keys, values, batch, sdpa.decode, sdpa.prefill, self.mixed)

    def mixed(self, query: Any, keys: Any, values: Any, batch: Batch) -> Any:
        """Returns both parts."""
        self.calls += 1
        chunk = batch.chunks[0]
        ends = torch.arange(len(chunk.slots) - chunk.length, len(chunk.slots)) + 1
        most = max(batch.decode_slots.shape[1], len(chunk.slots))
        slots = torch.zeros(batch.decodes + chunk.length, most, dtype=torch.int64)
        slots[: batch.decodes, : batch.decode_slots.shape[1]] = batch.decode_slots
        slots[batch.decodes :, : len(chunk.slots)] = chunk.slots
        rows = [*range(batch.decodes), *range(chunk.start, chunk.start + chunk.length)]
        out = sdpa.decode(query[rows], keys, values, slots, torch.cat([batch.decode_lengths, ends]))
        return out[: batch.decodes], out[batch.decodes :]


@pytest.mark.parametrize(("decodes", "chunks", "calls"), [(2, (3,), 1), (1, (2, 5), 1), (3, (), 0), (0, (4, 2), 0)])
def test_one_call_gives_what_two_give(decodes: int, chunks: tuple[int, ...], calls: int) -> None:
    lengths = [1] * decodes + list(chunks)
    parts = [Part([7] * length, 3 + k, np.arange(k * 4, k * 4 + 4), k, True) for k, length in enumerate(lengths)]
    batch = lay_out(parts, 4, CPU)
    draw = torch.Generator().manual_seed(3)
    query = torch.randn(sum(lengths), 4, 8, generator=draw)
    keys, values = torch.randn(2, 80, 2, 8, generator=draw)
    fused = Fused()
    found = fused.attend(query, keys, values, batch)
    torch.testing.assert_close(found, sdpa.attend(query, keys, values, batch), atol=1e-5, rtol=0)
    assert fused.calls == calls
    if chunks:
        filled = padded(batch, Bucket.of(batch), 79)
        rows = torch.cat([query, query.new_zeros(filled.rows.shape[0] - len(query), 4, 8)])
        torch.testing.assert_close(sdpa.attend(rows, keys, values, filled)[: len(query)], found, atol=1e-5, rtol=0)


def test_tokens_are_the_same_with_one_call() -> None:
    fused, one = Fused(), engine()
    one.runner.model.attend = fused.attend
    assert serve(one) == alone("llama") and fused.calls > 5
