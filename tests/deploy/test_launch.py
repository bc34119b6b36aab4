"""From a deployment to an engine's command line and back: each knob is told, refused by its name, or nobody's to tell."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy import launch
from simulator.errors import InputError
from simulator.resolve import resolve
from simulator.spec.deployment import Deployment, Resolved

DENSE, EXPERTS, STORED_FP8 = "meta-llama/Llama-3.1-8B", "mistralai/Mixtral-8x7B-v0.1", "deepseek-ai/DeepSeek-V3"
BASES = {
    "vllm": {"engine": "vllm-0.19"},
    "sglang": {"engine": "sglang-0.5"},
    "tensorrt_llm": {"engine": "tensorrt_llm-1.2"},
    "torch": {"engine": "vllm-0.19", "cudagraph_mode": "FULL_DECODE_ONLY"},
}
ELSEWHERE = {*launch.NAMED, *launch.PLACED, *launch.ASSUMED}


def base(engine: str, **knobs: Any) -> Resolved:
    """Returns a deployment that the engine can be told, with other knobs."""
    asked = {"model": DENSE, "device": "H100-SXM", **BASES[engine]}
    return resolve(Deployment.parse(asked)).model_copy(update=knobs)


def command(engine: str, deployment: Resolved, **more: Any) -> tuple[str, ...]:
    return launch.launcher(engine).arguments(deployment, "/models/a", 8000, **more)


SIZES = st.integers(1, 1 << 20)
SHARED = {
    "dtype": st.sampled_from(["bfloat16", "float16", "float32"]),
    "tensor_parallel_size": st.integers(1, 16),
    "max_num_batched_tokens": SIZES,
    "max_num_seqs": SIZES,
    "block_size": SIZES,
    "max_model_len": SIZES,
    "gpu_memory_utilization": st.floats(0, 1, exclude_min=True),
    "num_gpu_blocks_override": st.none() | SIZES,
    "enable_prefix_caching": st.booleans(),
    "async_scheduling": st.booleans(),
    "scheduling_policy": st.sampled_from(["fcfs", "priority"]),
}
PARALLEL = {
    "kv_cache_dtype": st.sampled_from(["auto", "fp8"]),
    "quantization": st.sampled_from(["none", "fp8"]),
    "enable_expert_parallel": st.booleans(),
    "pp_layer_partition": st.none() | st.tuples(SIZES, SIZES),
    "data_parallel_size": st.integers(1, 16),
}
VLLM_ONLY = {
    "long_prefill_token_threshold": st.integers(0, 1 << 20),
    "scheduler_reserve_full_isl": st.booleans(),
}
TOLD: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "vllm": SHARED
    | PARALLEL
    | VLLM_ONLY
    | {
        "pipeline_parallel_size": st.integers(1, 8),
        "cudagraph_mode": st.sampled_from(["NONE", "PIECEWISE", "FULL_DECODE_ONLY", "FULL_AND_PIECEWISE"]),
    },
    "sglang": SHARED
    | PARALLEL
    | {
        "tensor_parallel_size": st.integers(2, 16),
        "cudagraph_mode": st.sampled_from(["NONE", "FULL_DECODE_ONLY"]),
        "scheduler_options": st.fixed_dictionaries(
            {
                "enable_mixed_chunk": st.booleans(),
                "schedule_conservativeness": st.floats(1e-9, 1e9),
                "max_prefill_tokens": SIZES,
                "max_new_tokens": st.just(0),
            }
        ),
    },
    "tensorrt_llm": {knob: drawn for knob, drawn in SHARED.items() if knob != "scheduling_policy"}
    | {
        "tensor_parallel_size": st.integers(2, 16),
        "pipeline_parallel_size": st.integers(1, 8),
        "enable_expert_parallel": st.booleans(),
        "kv_cache_dtype": st.sampled_from(["auto", "fp8"]),
        "cudagraph_mode": st.sampled_from(["NONE", "FULL_DECODE_ONLY"]),
        "block_size": st.sampled_from([16, 32, 64, 128]),
    },
    "torch": SHARED
    | VLLM_ONLY
    | {
        "cudagraph_mode": st.sampled_from(["NONE", "FULL_DECODE_ONLY", "SELECTIVE"]),
        "kv_allocator": st.sampled_from(["paged", "contiguous"]),
        "scheduler": st.sampled_from(["vllm_v1", "sglang", "orca"]),
        "scheduler_options": st.dictionaries(st.sampled_from(["a", "b"]), SIZES | st.floats(1e-9, 1e9) | st.booleans()),
    },
}


@pytest.mark.parametrize("engine", launch.names())
@settings(deadline=None)
@given(data=st.data())
def test_a_deployment_comes_back_from_its_command_line(engine: str, data: st.DataObject) -> None:
    drawn = {knob: data.draw(values, knob) for knob, values in TOLD[engine].items()}
    deployment = base(engine, **drawn)
    stated = launch.launcher(engine).parse(command(engine, deployment))
    for knob, value in stated.items():
        assert value == getattr(deployment, knob), knob
    unstated = set(Resolved.model_fields) - set(stated) - ELSEWHERE
    published = {"quantization"} if deployment.quantization == "none" else set()
    assert unstated - published <= ({"engine"} if engine == "torch" else set())


@pytest.mark.parametrize("engine", launch.names())
def test_each_knob_changes_the_command_is_refused_or_is_told_elsewhere(engine: str) -> None:
    deployment = base(engine)
    plain = command(engine, deployment)
    others: dict[str, Any] = {
        "engine": "sglang-0.5" if engine == "tensorrt_llm" else "tensorrt_llm-1.2",
        "dtype": "float16", "quantization": "int4", "kv_cache_dtype": "fp8",
        "enable_expert_parallel": True,
        "tensor_parallel_size": 2, "pipeline_parallel_size": 2, "data_parallel_size": 2, "pp_layer_partition": (16, 16),
        "scheduler": "orca", "scheduler_options": {"other": 3}, "max_num_batched_tokens": 777, "max_num_seqs": 77, "block_size": 64,
        "max_model_len": 7777, "gpu_memory_utilization": 0.5, "num_gpu_blocks_override": 7, "enable_prefix_caching": False,
        "async_scheduling": False, "scheduling_policy": "priority", "long_prefill_token_threshold": 7,
        "scheduler_reserve_full_isl": False, "cudagraph_mode": "PIECEWISE", "attention_backend": "pod",
        "kv_allocator": "contiguous",
        "determinism": "verified", "verification_window": 64, "verification_sequences": 4,
    }  # fmt: skip
    assert set(others) | ELSEWHERE == set(Resolved.model_fields), "a new knob belongs to each launcher, or to one of the lists"
    # A pipeline of SGLang is not asynchronous, and experts that are whole are so on several GPUs.
    together: dict[str, dict[str, Any]] = {
        "pipeline_parallel_size": {"async_scheduling": False},
        "enable_expert_parallel": {"tensor_parallel_size": 2},
    }
    for knob, value in others.items():
        also = together.get(knob, {})
        before = command(engine, deployment.model_copy(update=also)) if also else plain
        try:
            told = command(engine, deployment.model_copy(update={**also, knob: value}))
        except InputError as error:
            assert error.field.partition(".")[0] == knob and "\n" not in str(error)
        else:
            assert told != before or (engine == "torch" and knob == "engine"), f"{knob} is left out in silence"


def test_what_is_told_elsewhere_changes_no_command() -> None:
    deployment = base("vllm")
    others = {"replicas": 3, "router": "random", "device": "L40S", "expert_load": "power_law_1.2", "detokenize_s_per_token": 1.0}
    assert command("vllm", deployment.model_copy(update=others)) == command("vllm", deployment)


def test_a_command_of_vllm_as_it_is_typed() -> None:
    deployment = base("vllm", num_gpu_blocks_override=100, pipeline_parallel_size=2, pp_layer_partition=(20, 12))
    told = " ".join(command("vllm", deployment, more=("--load-format", "dummy")))
    assert told.startswith("env VLLM_PP_LAYER_PARTITION=20,12 vllm serve /models/a --served-model-name meta-llama/Llama-3.1-8B")
    assert told.endswith("--enable-chunked-prefill --load-format dummy")
    # The placeholder block of vLLM comes on top.
    assert " --num-gpu-blocks-override 101 " in told and '--compilation-config {"cudagraph_mode": "FULL_AND_PIECEWISE"}' in told


def test_weights_are_as_published_or_are_quantised_when_loaded() -> None:
    stored = base("vllm", model=STORED_FP8, quantization="fp8")
    assert "--quantization" not in command("vllm", stored)
    assert ("--quantization", "fp8") in zip(*(command("vllm", base("vllm", quantization="fp8"))[k:] for k in (0, 1)), strict=False)
    for engine, other in (("vllm", stored), ("sglang", base("sglang", model=STORED_FP8))):
        with pytest.raises(InputError, match="quantization: 'none' is not allowed; allowed: fp8"):
            command(engine, other.model_copy(update={"quantization": "none"}))


def test_sglang_refuses_what_it_would_change_by_itself() -> None:
    with pytest.raises(InputError, match="async_scheduling"):
        command("sglang", base("sglang", pipeline_parallel_size=2))
    with pytest.raises(InputError, match="data_parallel_size"):
        command("sglang", base("sglang", model=EXPERTS, data_parallel_size=2))
    with pytest.raises(InputError, match=r"scheduler_options\.max_new_tokens"):
        command("sglang", base("sglang", scheduler_options={"max_new_tokens": 5}))


@pytest.mark.parametrize("mode", ["FULL_DECODE_ONLY", "NONE"])
def test_sglang_captures_no_more_than_was_simulated(mode: str) -> None:
    told = command("sglang", base("sglang", cudagraph_mode=mode))
    # Its own default is to capture prompts in pieces.
    assert "--disable-piecewise-cuda-graph" in told and ("--disable-cuda-graph" in told) == (mode == "NONE")
    more = [part for part in told if part != "--disable-piecewise-cuda-graph"]
    assert launch.launcher("sglang").parse(more)["cudagraph_mode"] not in ("FULL_DECODE_ONLY", "NONE")


def test_all_that_tensorrt_llm_is_told_of_its_kv_is_in_one_place() -> None:
    told = command("tensorrt_llm", base("tensorrt_llm", gpu_memory_utilization=0.7))
    assert json.loads(told[4])["kv_cache_config"]["free_gpu_memory_fraction"] == 0.7
    # A group of the file can take the place of what flags say of it.
    assert not any("memory_fraction" in part or "kv_cache" in part for part in told[5:])


def test_a_block_that_tensorrt_llm_would_not_take_is_refused() -> None:
    with pytest.raises(InputError, match="block_size: 48 is not allowed; allowed: a power of 2 above 1"):
        command("tensorrt_llm", base("tensorrt_llm", block_size=48))


def test_our_engine_takes_its_own_command(tmp_path: Any) -> None:
    serving = pytest.importorskip("profiler.engine.settings")
    from search.assigned import assigned

    argv = launch.launcher("torch").arguments(base("torch", gpu_memory_utilization=1e-5), str(tmp_path), 8000, name="m")
    assert argv[3:9] == ("--model-path", str(tmp_path), "--served-model-name", "m", "--host", "127.0.0.1")
    knobs = assigned([argv[k + 1] for k, part in enumerate(argv) if part == "--set"])
    settings = serving.Settings.parse(knobs, "--set")
    assert settings.gpu_memory_utilization == 1e-5 and settings.graphs == "decode_only" and settings.device == "cuda"


@pytest.mark.parametrize("engine", launch.names())
def test_the_command_of_another_engine_is_not_read(engine: str) -> None:
    with pytest.raises(InputError, match="command"):
        launch.launcher(engine).parse(("other", "serve", "--max-num-seqs", "3"))


def test_launchers_are_files() -> None:
    assert {"sglang", "tensorrt_llm", "torch", "vllm"} <= set(launch.names())
    with pytest.raises(InputError, match="vllm"):
        launch.launcher("vlm")


def test_verified_decoding_is_told_to_the_engine_that_has_it() -> None:
    knobs = {"determinism": "verified", "verification_window": 64, "verification_sequences": 1}
    told = command("torch", base("torch", **knobs))
    assert "verification_window=64" in told and "determinism=verified" in told
    assert launch.launcher("torch").parse(told).items() >= knobs.items()
    with pytest.raises(InputError, match="verification_sequences: 16 is not allowed; allowed: 1"):
        command("torch", base("torch", **{**knobs, "verification_sequences": 16}))
    with pytest.raises(InputError, match="determinism: 'verified' is not allowed; allowed: none"):
        command("vllm", base("vllm", **knobs))
