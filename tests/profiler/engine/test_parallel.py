"""Two processes that share a model's heads and MLP columns give the tokens that one gives."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from simulator.errors import InputError
from tests.profiler.engine import hugging
from tests.profiler.engine.test_engine import PLAIN, alone, checkpoint, serve

torch = hugging.torch

from profiler.engine import architecture, attention, build, weights  # noqa: E402
from profiler.engine.followers import together  # noqa: E402
from profiler.engine.parallel import Group  # noqa: E402
from profiler.engine.settings import Settings  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("family", ["llama_biased", "mixtral"])
def test_two_processes_give_the_tokens_of_one(family: str) -> None:
    settings = Settings(**{**PLAIN, "block_size": 4, "async_scheduling": True})
    with together(partial(build.from_checkpoint, checkpoint(family), settings), 2) as engine:
        assert engine.runner.pool.shape[3] == 1, "one of two KV heads"
        assert serve(engine) == alone(family)


PIPELINES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "two stages": ("qwen2", 1, {"max_num_seqs": 8}),
    "two stages of two processes": ("llama", 2, {"scheduler": "sarathi_serve", "async_scheduling": True}),
    "preemption": ("mixtral", 1, {"num_gpu_blocks_override": 20, "max_num_seqs": 8}),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_stages_give_the_tokens_of_one_process(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    family, size, fields = PIPELINES[name]
    settings = Settings(**{**PLAIN, "block_size": 4, "pipeline_parallel_size": 2, **fields})
    with together(partial(build.from_checkpoint, checkpoint(family), settings), size, 2) as engine:
        assert engine.runner.pool.shape[0] == 1, "one of two layers"
        flying: list[int] = []
        landed: Any = engine._land

        def land(flight: Any) -> Any:
            flying.append(engine.driver.in_flight)
            return landed(flight)

        monkeypatch.setattr(engine, "_land", land)
        assert serve(engine) == alone(family)
        assert max(flying) == 2, "steps in both stages at once"


def test_layers_are_split_as_they_are_simulated() -> None:
    assert [list(Group(0, 1, stage, 3).layers(5)) for stage in range(3)] == [[0, 1], [2, 3], [4]]
    assert list(Group(0, 1, 1, 2).layers(5, (4, 1))) == [4]
    with pytest.raises(InputError, match="pipeline_parallel_size: 6"):
        Group(0, 1, 0, 6).layers(5)
    with pytest.raises(InputError, match="pp_layer_partition"):
        Group(0, 1, 0, 2).layers(5, (4, 2))


def shares(family: str) -> Any:
    """Returns the models of both processes of a pair."""
    arch = architecture.read(checkpoint(family))
    for rank in range(2):
        model = weights.build(arch, attention.backend("sdpa"), torch.device("cpu"), torch.float32, Group(rank, 2))
        weights.load(model, checkpoint(family))
        yield model


@pytest.mark.parametrize("family", ["llama_biased", "qwen2", "qwen3_moe"])
def test_the_shares_are_parts_of_the_whole(family: str) -> None:
    one, other = (dict(model.named_parameters()) for model in shares(family))
    tensors = hugging.model(family).state_dict()
    out, up = "model.layers.1.self_attn.o_proj.weight", "model.layers.1.self_attn.k_proj.weight"
    assert torch.equal(torch.cat([one["layers.1.attention.out.weight"], other["layers.1.attention.out.weight"]], 1), tensors[out])
    keys = [each["layers.1.attention.qkv.weight"].chunk(4)[2] for each in (one, other)]
    assert torch.equal(torch.cat(keys), tensors[up])
    # A bias that is added to a sum is in one of its parts.
    assert "layers.1.attention.out.bias" not in other


def test_heads_that_do_not_split_are_refused() -> None:
    with pytest.raises(InputError, match="tensor_parallel_size: 3"):
        Group(0, 3).check(architecture.read(checkpoint("llama")))
