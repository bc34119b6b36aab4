"""The engine gives each request the tokens that the model alone would give it, whatever the schedule does to its steps."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from simulator import catalog
from simulator.errors import Infeasible, InputError
from simulator.steps import step_rows
from tests.profiler.engine import hugging

torch = hugging.torch

from profiler.engine import attention, build, kv  # noqa: E402
from profiler.engine.engine import Engine, Landed  # noqa: E402
from profiler.engine.model import Model  # noqa: E402
from profiler.engine.sampling import Sampling, pick, uniform  # noqa: E402
from profiler.engine.settings import Settings  # noqa: E402

REQUESTS = 12
PLAIN: dict[str, Any] = {"max_num_seqs": 4, "max_num_batched_tokens": 64, "max_model_len": 96, "num_gpu_blocks_override": 100}


@cache
def checkpoint(family: str) -> Any:
    """Returns a folder with the weights of a family."""
    import atexit
    import tempfile
    from pathlib import Path

    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return hugging.saved(family, Path(folder.name))


def engine(family: str = "llama", *, record: bool = False, **fields: Any) -> Engine:
    """Returns an engine with a tiny model."""
    return build.from_checkpoint(checkpoint(family), Settings(**{**PLAIN, "block_size": 4, **fields}), record=record)


def prompts() -> list[list[int]]:
    """Returns prompts, half of which begin as another one does."""
    draw = np.random.default_rng(4)
    made = [draw.integers(3, 97, int(draw.integers(1, 40))).tolist() for _ in range(REQUESTS // 2)]
    return made + [prompt + draw.integers(3, 97, 5).tolist() for prompt in made]


def ways() -> list[Sampling]:
    """Returns how requests are sampled: greedily, or warm; some end early."""
    return [Sampling(20 + k, (0.0, 1.0)[k % 2], seed=k, ignore_eos=k % 3 == 0) for k in range(REQUESTS)]


def serve(one: Engine, arrivals: int = 3) -> list[list[int]]:
    """Returns the tokens of each request, of which a few arrive before every step."""
    asked = list(zip(prompts(), ways(), strict=True))
    served = []
    while asked or one.driver.has_work or one.driver.in_flight:
        for prompt, way in asked[:arrivals]:
            served.append(one.add(prompt, way))
        asked = asked[arrivals:]
        one.step()
    assert all(each.ended for each in served)
    return [each.tokens[each.prompt_tokens :] for each in served]


@cache
def alone(family: str) -> list[list[int]]:
    """Returns what transformers' logits say, one request after another, each token from the whole sequence anew."""
    out = []
    for prompt, way in zip(prompts(), ways(), strict=True):
        tokens = list(prompt)
        while len(tokens) < len(prompt) + way.max_tokens:
            logits = hugging.logits(family, tokens)[-1:]
            chance = torch.tensor([uniform(way.seed, len(tokens))], dtype=torch.float64)
            tokens.append(int(pick(logits, torch.tensor([way.temperature], dtype=torch.float64), chance)))
            if tokens[-1] == hugging.model(family).config.eos_token_id and not way.ignore_eos:
                break
        out.append(tokens[len(prompt) :])
    return out


@pytest.mark.parametrize("family", ["llama", "qwen3_moe", "mixtral", "qwen2"])
def test_tokens_are_those_of_the_model_alone(family: str) -> None:
    assert serve(engine(family)) == alone(family)


@pytest.mark.parametrize("scheduler", catalog.names("schedulers"))
def test_tokens_are_the_same_under_every_policy(scheduler: str) -> None:
    assert serve(engine(scheduler=scheduler, max_num_batched_tokens=128)) == alone("llama")


SCHEDULES: dict[str, dict[str, Any]] = {
    "one at a time": {"max_num_seqs": 1},
    "chunks of three": {"max_num_batched_tokens": 3},
    "chunks of a prime": {"max_num_batched_tokens": 17, "max_num_seqs": 8},
    "everybody at once": {"max_num_seqs": 16, "max_num_batched_tokens": 1024},
    "two steps in flight": {"async_scheduling": True, "max_num_seqs": 8},
    "no prefix cache": {"enable_prefix_caching": False},
    "preemption": {"num_gpu_blocks_override": 20, "max_num_seqs": 8, "enable_prefix_caching": False},
    "preemption and prefix cache": {"num_gpu_blocks_override": 20, "max_num_seqs": 8},
    "preemption with two steps in flight": {"num_gpu_blocks_override": 20, "max_num_seqs": 8, "async_scheduling": True},
    "contiguous": {"kv_allocator": "contiguous", "enable_prefix_caching": False},
    "contiguous with preemption": {
        "kv_allocator": "contiguous",
        "enable_prefix_caching": False,
        "num_gpu_blocks_override": 20,
        "max_num_seqs": 8,
    },
    "plain attention": {"attention_backend": "plain"},
    "blocks of one": {"block_size": 1},
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("arrivals", [1, REQUESTS])
def test_tokens_are_the_same_under_every_schedule(name: str, arrivals: int) -> None:
    fields = SCHEDULES[name]
    one = engine(record=True, **fields)
    assert serve(one, arrivals) == alone("llama")
    assert one.recorder is not None
    kinds = one.recorder.log().entries["kind"]
    if "preemption" in name:
        assert (kinds == 2).sum() > 0, "somebody was preempted"
    assert one.driver.replica["free_blocks"][0] == one.driver.limits.kv_blocks


def test_prefixes_are_found() -> None:
    one = engine(record=True)
    serve(one, 1)
    assert one.recorder is not None
    entries = one.recorder.log().entries
    assert entries["amount"][entries["kind"] == 1].max() >= 16


def test_a_dropped_request_leaves_the_others_alone() -> None:
    one = engine(async_scheduling=True)
    served = [one.add(prompt, way) for prompt, way in zip(prompts(), ways(), strict=True)]
    one.step()
    one.drop(served[1])
    landed: list[Landed] = []
    while one.driver.has_work or one.driver.in_flight:
        landed += one.step() or []
    assert one.step() is None
    assert served[1] not in {each.served for each in landed}
    expected = alone("llama")
    assert all(each.tokens[each.prompt_tokens :] == expected[k] for k, each in enumerate(served) if k != 1)
    assert [each.reason for each in landed if each.served is served[0]][-1] == "length"


def test_the_step_log_tells_times_and_who_took_part() -> None:
    one = engine(record=True)
    serve(one)
    assert one.recorder is not None
    log = one.recorder.log()
    steps = log.steps
    assert (steps["end_s"] > steps["start_s"]).all() and (steps["start_s"][1:] >= steps["end_s"][:-1]).all()
    rows = list(step_rows(log, np.arange(REQUESTS)))
    told = [sum(int(each.split(":")[1]) for each in row[6].split(";")) for row in rows]
    assert told == steps["tokens"].tolist() and max(told) <= 64
    assert sorted(int(each) for row in rows for each in row[12].split(";") if each) == list(range(REQUESTS))


def test_random_weights_depend_on_the_seed_alone() -> None:
    from profiler.engine.architecture import Architecture

    arch = Architecture(97, 32, 48, 2, 4, 2, 8, 128, qkv_bias=True)
    fields = Settings(**PLAIN)
    one, same, other = (
        build.with_random_weights(arch, settings).runner.model.get_parameter("layers.1.mlp.down.weight")
        for settings in (fields, fields, fields.model_copy(update={"seed": 1}))
    )
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert serve_random(arch, fields) == serve_random(arch, fields)


def serve_random(arch: Any, settings: Settings) -> list[list[int]]:
    """Returns the tokens of an engine with random weights."""
    return serve(build.with_random_weights(arch, settings))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"max_model_len": 1000}, "max_position_embeddings"),
        ({"attention_backend": "flash"}, "sdpa"),
        ({"kv_allocator": "slabs"}, "paged"),
        ({"kv_allocator": "contiguous"}, "enable_prefix_caching"),
        ({"graphs": "all"}, "off"),
        ({"device": "tpu"}, "cpu"),
        ({"scheduler": "fifo"}, "vllm_v1"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        engine(**fields)


def test_tokens_beyond_the_vocabulary_are_refused() -> None:
    with pytest.raises(InputError, match="0 to 96"):
        engine().add([97], Sampling())


def test_no_memory_for_kv_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "HOST_KV_BYTES", 100)
    with pytest.raises(Infeasible, match="no memory is left for KV"):
        engine(num_gpu_blocks_override=None)


def test_a_kv_pool_beyond_memory_is_told_with_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Model, "pool", full)
    monkeypatch.setattr(build, "free_bytes", lambda device: 512 * 7 * 4)
    with pytest.raises(InputError, match="num_gpu_blocks_override: 100 is not allowed; allowed: up to 14 KV blocks of 1,024 bytes"):
        engine()
    with pytest.raises(InputError, match="gpu_memory_utilization"):
        engine(num_gpu_blocks_override=None)
    with pytest.raises(InputError, match="max_num_seqs: 5 is not allowed; allowed: fewer, or a smaller max_model_len: 120 KV"):
        engine(kv_allocator="contiguous", enable_prefix_caching=False, max_num_seqs=5)


def test_weights_beyond_memory_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("profiler.engine.weights.build", full)
    with pytest.raises(Infeasible, match="weights do not fit"):
        engine()


def test_backends_and_allocators_are_files() -> None:
    assert attention.names() == ("plain", "sdpa") and kv.names() == ("contiguous", "paged")


# Sampling


def test_uniform_numbers_are_uniform_and_differ_by_seed_and_place() -> None:
    drawn = np.array([uniform(seed, place) for seed in range(50) for place in range(50)])
    assert drawn.min() >= 0 and drawn.max() < 1 and len(set(drawn.tolist())) == 2500
    assert abs(drawn.mean() - 0.5) < 0.02


def test_warm_samples_follow_the_softmax() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0]).repeat(4000, 1)
    chances = torch.tensor([uniform(1, place) for place in range(4000)], dtype=torch.float64)
    tokens = pick(logits, torch.full((4000,), 0.5, dtype=torch.float64), chances)
    shares = torch.bincount(tokens, minlength=4) / 4000
    torch.testing.assert_close(shares, (logits[0] / 0.5).softmax(0), atol=0.02, rtol=0)
    assert (pick(logits, torch.zeros(4000, dtype=torch.float64), chances) == 2).all()
