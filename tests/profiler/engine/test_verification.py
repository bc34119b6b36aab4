"""Verified tokens are the same whoever shares a step, and even when the fast path errs."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pytest

from simulator.errors import InputError
from tests.profiler.engine import hugging
from tests.profiler.engine.test_engine import PLAIN, REQUESTS, alone, checkpoint, engine, prompts, serve, ways

torch = hugging.torch

from profiler.engine import build  # noqa: E402
from profiler.engine.engine import Engine  # noqa: E402
from profiler.engine.followers import together  # noqa: E402
from profiler.engine.serving import report  # noqa: E402
from profiler.engine.settings import Settings  # noqa: E402

VERIFIED: dict[str, Any] = {"determinism": "verified", "verification_window": 8, "enable_prefix_caching": False}


def perturbed(one: Engine, spread: float) -> Engine:
    """Returns the engine with noise on what its fast path computes: on the logits, and on the KV that it wrote."""
    runner, draw = one.runner, torch.Generator().manual_seed(0)
    clean = runner.launch

    def noisy(batch: Any) -> Any:
        logits = clean(batch)
        noise = torch.randn(runner.pool[:, :, batch.slots].shape, generator=draw)
        runner.pool[:, :, batch.slots] += spread * noise
        return logits + spread * logits.abs().mean() * torch.randn(logits.shape, generator=draw)

    runner.launch = noisy
    return one


@pytest.mark.parametrize(
    "fields",
    [
        {"max_num_seqs": 8},
        {"max_num_batched_tokens": 5, "verification_window": 5},
        {"num_gpu_blocks_override": 20, "max_num_seqs": 8},
        {"verification_window": 1},
        {"scheduler": "sarathi_serve", "kv_allocator": "contiguous"},
    ],
    ids=str,
)
@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_tokens_are_the_same_whatever_the_fast_path_does(fields: dict[str, Any], spread: float) -> None:
    one = perturbed(engine(record=True, **{**VERIFIED, **fields}), spread)
    assert serve(one) == alone("llama")
    assert one.verifier is not None and one.recorder is not None
    counts = one.verifier.counts
    assert report(one) == {"verification": asdict(counts)}
    assert counts.passes > REQUESTS and (counts.rollbacks > 5) == (spread > 0)
    assert (counts.rolled_back_tokens > counts.rollbacks) == (spread > 0 and one.verifier.window > 1)
    assert one.driver.replica["free_blocks"][0] == one.driver.limits.kv_blocks and not one.verifier._progress
    preempted = (one.recorder.log().entries["kind"] == 2).sum()
    assert preempted > 0 or fields.get("num_gpu_blocks_override") is None


def test_without_verification_the_same_noise_changes_tokens() -> None:
    assert serve(perturbed(engine(enable_prefix_caching=False), 0.3)) != alone("llama")


def test_passes_give_equal_logits_whoever_else_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pass computes is equal to the last bit: alone, in company, and with noise in between."""
    seen: dict[str, dict[tuple[int, ...], Any]] = {}

    def watched(one: Engine, name: str) -> Engine:
        model = one.runner.model
        plain = type(model).forward

        def forward(batch: Any, pool: Any, handed: Any = None) -> Any:
            out = plain(model, batch, pool, handed)
            if len(batch.chunks) == 1 and batch.sampled.shape[0] == 8:
                places = batch.positions.tolist()
                count = len(set(places))
                seen.setdefault(name, {})[(places[0], *batch.rows[:count].tolist())] = out[:count].clone()
            return out

        monkeypatch.setattr(model, "forward", forward)
        return one

    serve(watched(engine(**VERIFIED, max_num_seqs=1), "alone"))
    serve(watched(perturbed(engine(**VERIFIED, max_num_seqs=8), 0.3), "noisy"))
    common = seen["alone"].keys() & seen["noisy"].keys()
    assert len(common) > REQUESTS
    assert all(torch.equal(seen["alone"][key], seen["noisy"][key]) for key in common)


def test_tokens_leave_the_engine_once_they_are_certain() -> None:
    one = perturbed(engine(**VERIFIED), 0.3)
    served = [one.add(prompt, way) for prompt, way in zip(prompts(), ways(), strict=True)]
    one.step()
    one.drop(served[2])
    told: dict[int, list[int]] = {k: [] for k in range(REQUESTS)}
    reasons: dict[int, list[Any]] = {k: [] for k in range(REQUESTS)}
    while one.driver.has_work:
        for each in one.step() or []:
            told[each.served.number].append(each.token)
            reasons[each.served.number].append(each.reason)
    for k, expected in enumerate(alone("llama")):
        if k != 2:
            assert told[k] == expected
            assert reasons[k][-1] in ("stop", "length") and set(reasons[k][:-1]) <= {None}


@pytest.mark.slow
def test_two_processes_verify_together() -> None:
    settings = Settings(**{**PLAIN, "block_size": 4, **VERIFIED})
    with together(partial(build.from_checkpoint, checkpoint("llama"), settings), 2) as one:
        assert serve(perturbed(one, 0.3)) == alone("llama")
        assert one.verifier is not None and one.verifier.counts.rollbacks > 5


@pytest.mark.parametrize(
    ("family", "fields", "told"),
    [
        ("llama", {"enable_prefix_caching": True}, "enable_prefix_caching false"),
        ("llama", {"async_scheduling": True}, "async_scheduling false"),
        ("mixtral", {}, "without experts"),
    ],
)
def test_what_cannot_be_verified_is_refused(family: str, fields: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        engine(family, **{**VERIFIED, **fields})


def test_windows_are_laid_out_in_one_shape() -> None:
    from profiler.engine.batch import lay_out_window

    for count in (1, 3, 8):
        batch = lay_out_window(list(range(count)), 16, np.arange(10), 8, 4, 99, True, torch.device("cpu"))
        assert batch.rows.shape[0] == batch.chunks[0].length == batch.sampled.shape[0] == 8
        assert batch.chunks[0].slots.tolist() == [*range(16 + count), *[99] * (8 - count)]
        assert batch.slots.tolist() == batch.chunks[0].slots.tolist()[16:]
