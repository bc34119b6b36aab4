"""vLLM 0.19: `vllm serve`. Names as in vllm/engine/arg_utils.py of 0.19.0."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.launch._knobs import Knob, Line, Only, Switch, Value, check_profile, quantization, read, rendered, stated
from simulator.errors import InputError
from simulator.spec.deployment import Resolved

PROFILE = "vllm-0.19"
PARTITION = "VLLM_PP_LAYER_PARTITION"
# Weights in 16 bits are quantised to 8 as they are loaded; other methods need weights of their own.
ONLINE = ("fp8",)


def _pair(name: str) -> Switch:
    return Switch(f"--{name}", f"--no-{name}")


KNOBS: Mapping[str, Knob] = {
    "engine": Only(PROFILE, "the version that this is written for"),
    "scheduler": Only("vllm_v1", "vLLM has no other"),
    "scheduler_options": Only({}, "vLLM's scheduler has none"),
    "attention_backend": Only("auto", "vLLM chooses by itself"),
    "kv_allocator": Only("paged", "vLLM has no other"),
    "determinism": Only("none", "vLLM verifies no tokens"),
    "verification_window": Only(None, "vLLM verifies no tokens"),
    "verification_sequences": Only(None, "vLLM verifies no tokens"),
    "dtype": Value("--dtype", str),
    "kv_cache_dtype": Value("--kv-cache-dtype", str),
    "tensor_parallel_size": Value("--tensor-parallel-size", int),
    "pipeline_parallel_size": Value("--pipeline-parallel-size", int),
    "data_parallel_size": Value("--data-parallel-size", int),
    "enable_expert_parallel": _pair("enable-expert-parallel"),
    "max_num_batched_tokens": Value("--max-num-batched-tokens", int),
    "max_num_seqs": Value("--max-num-seqs", int),
    "block_size": Value("--block-size", int),
    "max_model_len": Value("--max-model-len", int),
    "gpu_memory_utilization": Value("--gpu-memory-utilization", float),
    # Ours counts blocks that requests can use; vLLM keeps one of its own as a placeholder (vllm/v1/core/block_pool.py).
    "num_gpu_blocks_override": Value("--num-gpu-blocks-override", int, shift=1),
    "enable_prefix_caching": _pair("enable-prefix-caching"),
    "async_scheduling": _pair("async-scheduling"),
    "scheduling_policy": Value("--scheduling-policy", str),
    "long_prefill_token_threshold": Value("--long-prefill-token-threshold", int),
    "scheduler_reserve_full_isl": _pair("scheduler-reserve-full-isl"),
}


def arguments(
    deployment: Resolved,
    model: str,
    port: int,
    *,
    name: str | None = None,
    host: str = "127.0.0.1",
    more: Sequence[str] = (),
) -> tuple[str, ...]:
    """Returns the command that serves a replica of the deployment."""
    check_profile(deployment, PROFILE)
    if deployment.cudagraph_mode == "SELECTIVE":
        raise InputError("cudagraph_mode", deployment.cudagraph_mode, "NONE, PIECEWISE, FULL_DECODE_ONLY, FULL_AND_PIECEWISE")
    partition = deployment.pp_layer_partition
    loaded = quantization(deployment, ONLINE)
    return (
        *(() if partition is None else ("env", f"{PARTITION}={','.join(map(str, partition))}")),
        *("vllm", "serve", model, "--served-model-name", name or deployment.model, "--host", host, "--port", str(port)),
        *rendered(KNOBS, deployment),
        *(() if loaded is None else ("--quantization", loaded)),
        *("--compilation-config", json.dumps({"cudagraph_mode": deployment.cudagraph_mode})),
        # What the simulated scheduler does, and the default for every decoder that vLLM serves.
        "--enable-chunked-prefill",
        *more,
    )


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """Returns the knobs that a command line of `vllm serve` states."""
    line = read(arguments)
    if line.words[:2] != ("vllm", "serve"):
        raise InputError("command", " ".join(arguments), "vllm serve MODEL --FLAG ...")
    return {**stated(KNOBS, line), **_special(line)}


def _special(line: Line) -> dict[str, Any]:
    found: dict[str, Any] = {"pp_layer_partition": None, "num_gpu_blocks_override": None}
    if "--num-gpu-blocks-override" in line.flags:
        del found["num_gpu_blocks_override"]
    if PARTITION in line.environment:
        found["pp_layer_partition"] = tuple(int(layers) for layers in line.environment[PARTITION].split(","))
    for method in line.flags.get("--quantization", ()):
        found["quantization"] = method
    for config in line.flags.get("--compilation-config", ()):
        found["cudagraph_mode"] = json.loads(config)["cudagraph_mode"]
    return found
