"""What tells the batching policies apart: the steps that each decides for a few requests, and the options that it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.outcome import Outcome
from simulator.resolve import resolve
from simulator.run import prepare, simulate
from simulator.spec.deployment import Deployment, Resolved
from simulator.traffic import Traffic

# A step takes a second, whatever is in it: then times count steps.
PROFILES = ({"source": "linear", "base_s": 1.0},)
Requests = tuple[tuple[float, int, int], ...]
Step = dict[int, int]


def deployed(scheduler: str, **knobs: Any) -> Resolved:
    """Returns a small engine under a policy; with `blocks`, of so many KV blocks."""
    fields = {
        "model": "meta-llama/Llama-3.1-8B",
        "device": "H200-SXM",
        "max_num_batched_tokens": 256,
        "max_num_seqs": 4,
        "max_model_len": 512,
        "async_scheduling": False,
        "enable_prefix_caching": False,
        "num_gpu_blocks_override": knobs.pop("blocks", 1000),
        **knobs,
    }
    return resolve(Deployment.parse({**fields, "scheduler": scheduler}, "deployment"))


@dataclass(frozen=True)
class Played:
    """The tokens of every request that took part, by step, and the outcome."""

    steps: list[Step]
    outcome: Outcome


def play(scheduler: str, requests: Requests, options: dict[str, Any] | None = None, **knobs: Any) -> Played:
    """Returns what a policy makes of requests (arrival, prompt tokens, output tokens)."""
    arrival, prompt, output = (np.array(column) for column in zip(*requests, strict=True))
    traffic = Traffic(arrival.astype(float), prompt, output, np.zeros(len(requests), np.int64), 1.0)
    prepared = prepare(deployed(scheduler, scheduler_options=options or {}, **knobs), PROFILES)
    outcome = simulate(prepared, traffic, record_steps=True)
    assert outcome.steps is not None
    assert np.isfinite(outcome.finished_at).all()
    steps: list[Step] = [{} for _ in outcome.steps.steps]
    for entry in outcome.steps.entries[outcome.steps.entries["kind"] == 0]:
        steps[entry["step"]][int(entry["request"])] = int(entry["amount"])
    return Played([step for step in steps if step], outcome)


def refused(field: str, scheduler: str, options: dict[str, Any], **knobs: Any) -> None:
    with pytest.raises(InputError) as error:
        deployed(scheduler, scheduler_options=options, **knobs)
    assert error.value.field.removesuffix(" (unknown field)") == field
    assert "\n" not in str(error.value)


# Whole prompts


def test_vllm_v0_computes_prompts_alone_and_pads_them_to_the_longest() -> None:
    played = play("vllm_v0", ((0, 100, 3), (0, 60, 3), (0, 90, 3)))
    # Two prompts of 100 fit a budget of 256, three do not.
    assert played.steps == [{0: 100, 1: 60}, {2: 90}, {0: 1, 1: 1, 2: 1}, {0: 1, 1: 1, 2: 1}]


def test_orca_puts_whole_prompts_beside_decodes_and_reserves_for_the_longest() -> None:
    played = play("orca", ((0, 300, 3), (0.5, 400, 1), (0.6, 10, 1)), blocks=64)
    assert played.steps == [{0: 300}, {0: 1, 1: 400}, {0: 1, 2: 10}]
    assert played.outcome.kv_peak_blocks == 64, "two slots of 512 tokens, however short the requests are"


def test_faster_transformer_lets_nobody_into_a_batch() -> None:
    played = play("faster_transformer", ((0, 20, 1), (0, 20, 4), (0.5, 20, 2)))
    assert played.steps == [{0: 20, 1: 20}, {1: 1}, {1: 1}, {1: 1}, {2: 20}, {2: 1}]


def test_lightllm_admits_by_the_peak_that_is_to_come() -> None:
    # 16 tokens a block; each will hold 100 + 60: of three only two fit 30 blocks, though all three prompts would.
    three: Requests = ((0, 100, 60), (0, 100, 60), (0, 56, 60))
    played = play("lightllm", three, blocks=30 * 16, block_size=1)
    assert played.steps[0] == {0: 100, 1: 100, 2: 56}
    played = play("lightllm", three, blocks=340, block_size=1)
    assert played.steps[0] == {0: 100, 1: 100}
    assert played.outcome.preemptions.sum() == 0


def test_lightllm_interrupts_decodes_after_so_many_steps() -> None:
    played = play("lightllm", ((0, 50, 20), (0.5, 50, 2)), {"max_waiting_iters": 3})
    assert [set(step) for step in played.steps[:6]] == [{0}, {0}, {0}, {0}, {1}, {0, 1}]


def test_lightllm_is_wrong_when_clients_allow_less_than_they_get() -> None:
    played = play("lightllm", ((0, 100, 60), (0, 100, 60)), {"max_new_tokens": 1}, blocks=300, block_size=1)
    assert played.steps[0] == {0: 100, 1: 100} and played.outcome.preemptions.sum() > 0


@pytest.mark.parametrize("scheduler", ["vllm_v0", "lightllm"])
def test_what_never_fits_a_step_is_rejected(scheduler: str) -> None:
    deployment = deployed(scheduler)
    traffic = Traffic(np.zeros(2), np.array([200, 200]), np.array([56, 57]), np.zeros(2, np.int64), 1.0)
    assert simulate(prepare(deployment, PROFILES), traffic).rejected.tolist() == [False, True]


# Chunks


def test_sarathi_fills_tiles_with_one_prompts_chunk() -> None:
    requests: Requests = ((0, 20, 9), (0.5, 600, 1), (0.6, 30, 1))
    knobs: dict[str, Any] = {"max_num_batched_tokens": 300, "max_model_len": 1024}
    tiles = play("sarathi", requests, **knobs)
    # One decode and 255 tokens of the chunk are two tiles of 128; the third request waits for its turn.
    assert tiles.steps[:4] == [{0: 20}, {0: 1, 1: 255}, {0: 1, 1: 255}, {0: 1, 1: 90}]
    assert tiles.steps[4] == {0: 1, 2: 30}
    assert play("sarathi", requests, {"tile_size": 0}, **knobs).steps[1] == {0: 1, 1: 299}
    assert play("sarathi", requests, {"chunk_size": 64, "tile_size": 0}, **knobs).steps[1] == {0: 1, 1: 64}


def test_sarathi_reserves_a_slot_for_the_longest_unless_told_otherwise() -> None:
    two: Requests = ((0, 20, 9), (0, 20, 9))
    assert play("sarathi", two, blocks=40).steps[1] == {0: 1}
    assert play("sarathi", two, {"reserve_max_model_len": False}, blocks=40).steps[1] == {0: 1, 1: 20}


def test_sarathi_serve_mixes_decodes_and_chunks() -> None:
    played = play("sarathi_serve", ((0, 20, 4), (0.5, 300, 1)))
    assert played.steps == [{0: 20}, {0: 1, 1: 255}, {0: 1, 1: 45}, {0: 1}]


def test_hybrid_only_never_chunks() -> None:
    played = play("sarathi_serve", ((0, 500, 4), (0.5, 510, 1)), {"batching": "hybrid_only"}, max_num_batched_tokens=512)
    assert played.steps == [{0: 500}, {0: 1, 1: 510}, {0: 1}, {0: 1}]
    # Beside two decodes 511 of 512 tokens do not fit, so that they must end first.
    late = play("sarathi_serve", ((0, 5, 3), (0, 5, 3), (0.5, 511, 1)), {"batching": "hybrid_only"}, max_num_batched_tokens=512)
    assert late.steps == [{0: 5, 1: 5}, {0: 1, 1: 1}, {0: 1, 1: 1}, {2: 511}]


def test_chunked_only_takes_turns() -> None:
    played = play("sarathi_serve", ((0, 20, 4), (0.5, 600, 1)), {"batching": "chunked_only"}, max_model_len=1024)
    assert played.steps == [{0: 20}, {0: 1}, {1: 256}, {0: 1}, {1: 256}, {0: 1}, {1: 88}]


def scheduled_chunks(low: int, high: int, last: int, stages: int, prompt: int) -> list[int]:
    """Returns the chunks as Sarathi-Serve reckons them with numpy."""
    sizes = np.linspace(low, high, stages, dtype=np.int32)[::-1]
    sizes = (np.round(sizes / 32) * 32).astype(np.int64)
    chunks: list[int] = []
    while (done := sum(chunks)) < prompt:
        stage = min(done // int(np.ceil(last / stages)), stages - 1)
        chunks.append(min(prompt - done, int(sizes[stage])))
    return chunks


@pytest.mark.parametrize(
    "numbers", [(32, 256, 1000, 4), (64, 224, 900, 3), (32, 96, 1500, 7), (128, 128, 10, 1), (32, 256, 333, 2)]
)
def test_the_chunk_schedule_is_sarathi_serves(numbers: tuple[int, int, int, int]) -> None:
    names = ("low_chunk_size", "high_chunk_size", "chunk_schedule_max_tokens", "chunk_schedule_stages")
    options = dict(zip(names, numbers, strict=True))
    played = play("sarathi_serve", ((0, 1300, 1),), options, max_model_len=2048)
    assert [step[0] for step in played.steps] == scheduled_chunks(*numbers, prompt=1300)


def test_a_spare_block_is_asked_for_on_demand_alone() -> None:
    # 7 blocks, 1 a watermark of none: two prompts of 40 tokens hold 3 blocks each, and their next tokens fit.
    two: Requests = ((0, 40, 8), (0, 40, 8))
    for scheduler in ("vllm_v0", "sarathi_serve"):
        assert play(scheduler, two, blocks=6, max_model_len=64).outcome.preemptions.sum() == 0
        assert play(scheduler, two, {"spare_block": True}, blocks=6, max_model_len=64).outcome.preemptions.sum() > 0


# SGLang


def test_sglang_puts_prompts_first_or_beside_decodes() -> None:
    requests: Requests = ((0, 20, 4), (0.5, 300, 2))
    assert play("sglang", requests).steps == [{0: 20}, {1: 256}, {1: 44}, {0: 1, 1: 1}, {0: 1}, {0: 1}]
    mixed = play("sglang", requests, {"enable_mixed_chunk": True})
    # The chunk is cut to whole pages of 16 beside the decode.
    assert mixed.steps == [{0: 20}, {0: 1, 1: 240}, {0: 1, 1: 60}, {0: 1, 1: 1}]


def test_sglang_reserves_what_running_requests_are_expected_to_make() -> None:
    two: Requests = ((0, 100, 200), (0.5, 100, 200))
    # 100 + 0.7 x 199 and 100 + 200 are less than 700 tokens; with 0.07 expected of the first, less than 500.
    assert set(play("sglang", two, block_size=1, blocks=700).steps[1]) == {1}
    tight: dict[str, Any] = {"block_size": 1, "blocks": 400}
    assert set(play("sglang", two, **tight).steps[1]) == {0}
    eager = play("sglang", two, {"schedule_conservativeness": 0.1}, block_size=1, blocks=420)
    assert set(eager.steps[1]) == {1} and eager.outcome.preemptions.sum() > 0


# Pipelines


@pytest.mark.parametrize("scheduler", ["vllm_v0", "orca", "faster_transformer", "lightllm", "sarathi", "sarathi_serve", "sglang"])
def test_micro_batches_share_the_seats(scheduler: str) -> None:
    requests: Requests = tuple((0.0, 40, 6) for _ in range(12))
    played = play(scheduler, requests, pipeline_parallel_size=2, max_num_seqs=8)
    assert max(map(len, played.steps)) <= 4
    log = played.outcome.steps
    assert log is not None
    assert any(log.steps["sched_s"][1:] < log.steps["end_s"][:-1])
    for i, step in enumerate(log.steps):
        for j in range(i):
            if step["sched_s"] < log.steps[j]["end_s"]:
                assert not set(played.steps[i]) & set(played.steps[j])


# Options


def test_wrong_options_are_told_in_one_line() -> None:
    path = "deployment.scheduler_options"
    refused(path, "vllm_v1", {"batching": "combined"})
    refused(f"{path}.batching", "sarathi_serve", {"batching": "sometimes"})
    refused(f"{path}.batch", "sarathi_serve", {"batch": "combined"})
    refused(f"{path}.batching", "sarathi_serve", {"batching": "hybrid_only"})
    refused(f"{path}.low_chunk_size", "sarathi_serve", {"high_chunk_size": 64})
    refused(f"{path}.low_chunk_size", "sarathi_serve", {"low_chunk_size": 40})
    refused(f"{path}.tile_size", "sarathi", {"tile_size": 512})
    refused(f"{path}.max_waiting_iters", "lightllm", {"max_waiting_iters": -1})
    refused("deployment.max_num_batched_tokens", "sglang", {}, max_num_batched_tokens=250)
    everything = {"low_chunk_size": 64, "high_chunk_size": 512, "chunk_schedule_max_tokens": 9, "chunk_schedule_stages": 3}
    refused(f"{path}.high_chunk_size", "sarathi_serve", everything)


def test_options_are_resolved_like_any_knob() -> None:
    assert deployed("sarathi").scheduler_options == {"chunk_size": 0, "tile_size": 128, "reserve_max_model_len": True}
    assert deployed("vllm_v1").scheduler_options == {}
