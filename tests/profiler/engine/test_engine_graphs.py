"""Steps that are filled up to the size of a graph give the logits that they give without, and leave others' KV alone."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from simulator.errors import InputError
from tests.profiler.engine import hugging
from tests.profiler.engine.test_engine import alone, checkpoint, engine, serve
from tests.profiler.engine.test_model import CPU, loaded

torch = hugging.torch

from profiler.engine import attention, graphs  # noqa: E402
from profiler.engine.batch import Batch, Part, lay_out  # noqa: E402
from profiler.engine.graphs._capture import rerun  # noqa: E402
from profiler.engine.graphs._choice import Measured, chosen  # noqa: E402
from profiler.engine.graphs._padding import Bucket, padded, size  # noqa: E402
from profiler.engine.graphs._replaying import Replaying  # noqa: E402
from profiler.engine.graphs.selective import Selective  # noqa: E402
from profiler.engine.sampling import Sampling  # noqa: E402
from profiler.engine.serving import report  # noqa: E402

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_sizes_are_powers_of_two() -> None:
    assert [size(count) for count in (1, 2, 3, 4, 5, 255, 256, 257)] == [1, 2, 4, 4, 8, 256, 256, 512]


def step(chunks: tuple[int, ...] = ()) -> Batch:
    """Returns a step of three decodes, one of which does not sample, and of chunks of so many tokens."""
    blocks = np.random.default_rng(2).permutation(40)
    sizes = [(1, 9), (1, 2), (1, 11), *((length, 3 * length) for length in chunks)]
    parts = [
        Part(np.arange(length) + k + 5, before, blocks[k * 8 : k * 8 + (before + length - 1) // 4 + 1], k, k != 1)
        for k, (length, before) in enumerate(sizes)
    ]
    return lay_out(parts, 4, CPU)


@pytest.mark.parametrize("chunks", [(), (5,), (4, 6)])
@pytest.mark.parametrize("backend", attention.names())
def test_a_padded_step_computes_the_same(backend: str, chunks: tuple[int, ...]) -> None:
    model = loaded(checkpoint("qwen3"), backend)
    one, other = model.pool(164), model.pool(164)
    draw = torch.Generator().manual_seed(1)
    one[:, :, :160] = torch.randn(one[:, :, :160].shape, generator=draw)
    other.copy_(one)
    batch = step(chunks)
    expected = model(batch, one)
    bucket = Bucket.of(batch)
    found = model(padded(batch, bucket, 160), other)
    assert found.shape[0] == bucket.sampled >= expected.shape[0] == 2 + len(chunks)
    torch.testing.assert_close(found[: len(expected)], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(other[:, :, :160], one[:, :, :160], atol=1e-5, rtol=0)


def test_buckets_hold_their_steps() -> None:
    assert Bucket.of(step()) == Bucket(False, 4, 16, 2) and Bucket.of(step((4, 6))) == Bucket(True, 16, 32, 4)
    assert Bucket(False, 1 << 12, 1 << 12, 1).sensible and not Bucket(True, 1 << 12, 1 << 12, 1).sensible


def launched_by(way: Any, **fields: Any) -> Any:
    """Returns an engine on the CPU whose steps are launched by a way, and the way."""
    one = engine(device="cpu", **fields)
    runner = one.runner
    runner.launch = way(runner.model, runner.pool, runner.pool.shape[2] - runner.block_size)
    return one, runner.launch


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("fields", [{"async_scheduling": True}, {"max_num_seqs": 7}, {"num_gpu_blocks_override": 20}])
def test_tokens_are_the_same_on_static_tensors(mixed: bool, fields: dict[str, Any]) -> None:
    one, way = launched_by(lambda model, pool, scratch: Replaying(model, pool, scratch, rerun, mixed=mixed), **fields)
    assert serve(one) == alone("llama")
    assert {bucket.mixed for bucket in way.graphs} == ({False, True} if mixed else {False})


# The choice


def measured(rows: int, eager: float, copied: float, replayed: float, nbytes: int = 10) -> Measured:
    """Returns made-up seconds of a bucket of so many rows."""
    return Measured(Bucket(False, rows, 16, rows), eager, copied, replayed, nbytes)


def rows_of(buckets: frozenset[Bucket]) -> list[int]:
    """Returns the rows of buckets in order."""
    return sorted(bucket.rows for bucket in buckets)


def test_a_graph_is_kept_where_copies_and_replay_take_less_than_the_step() -> None:
    made = [measured(1, 5.0, 1.0, 3.0), measured(2, 5.0, 2.0, 3.0), measured(4, 5.0, 0.0, 5.1), measured(8, 9.0, 3.0, 5.5)]
    assert rows_of(chosen(made)) == [1, 8]


def test_within_a_budget_the_graphs_stay_that_save_the_most_a_byte() -> None:
    made = [measured(1, 5.0, 0.0, 1.0, 80), measured(2, 5.0, 0.0, 2.0, 10), measured(4, 5.0, 0.0, 4.0, 20)]
    assert rows_of(chosen(made, 110)) == [1, 2, 4]
    assert rows_of(chosen(made, 100)) == [1, 2]
    assert rows_of(chosen(made, 90)) == [1, 2]
    assert rows_of(chosen(made, 50)) == [2, 4]
    assert rows_of(chosen(made, 5)) == []


@pytest.mark.parametrize("pays", [False, True])
def test_selective_keeps_what_pays_and_says_why(pays: bool) -> None:
    # In turn: kernel by kernel, the copy, the replay.
    times = itertools.cycle([5.0, 1.0, 3.0 if pays else 4.5])

    def timer(call: Any) -> float:
        call()
        return next(times)

    one, way = launched_by(lambda model, pool, scratch: Selective(model, pool, scratch, rerun, timer))
    assert serve(one) == alone("llama")
    assert len(way.report) == len(way.measured) > 3
    assert len(way.graphs) == (len(way.measured) if pays else 0)
    assert {row[4:7] for row in way.report} == {(5.0, 1.0, 3.0 if pays else 4.5)} and {row[8] for row in way.report} == {pays}
    assert all(row[7] > 0 for row in way.report) and one.runner.graph_report == way.report


def test_a_graph_that_does_not_fit_in_memory_is_done_without() -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("no room")

    one, way = launched_by(lambda model, pool, scratch: Selective(model, pool, scratch, full, lambda call: 1.0))
    assert serve(one) == alone("llama") and not way.graphs and len(way.measured) > 3
    (found,) = {json.dumps(row["replay_s"]) for row in report(one)["graphs"]}
    assert found == "null"


# Devices


@pytest.mark.parametrize("name", ["decode_only", "full", "selective"])
def test_graphs_need_a_device(name: str) -> None:
    assert graphs.names() == ("decode_only", "full", "off", "selective")
    with pytest.raises(InputError, match="off on cpu"):
        engine(graphs=name, device="cpu")


@needs_cuda
@pytest.mark.parametrize("name", ["decode_only", "full", "selective"])
def test_tokens_are_the_same_with_graphs(name: str) -> None:
    for fields in ({"async_scheduling": True}, {"max_num_seqs": 7}, {"num_gpu_blocks_override": 20}):
        assert serve(engine(graphs=name, device="cuda", **fields)) == alone("llama")


@needs_cuda
def test_a_step_without_samples_lands_when_the_device_is_done() -> None:
    one = engine(device="cuda", max_num_batched_tokens=4, max_num_seqs=1)
    one.add(list(range(5, 45)), Sampling(1))
    assert one.step() == [] and torch.cuda.current_stream().query()
