"""TensorRT-LLM 1.2: `trtllm-serve` on its PyTorch backend. Names as in tensorrt_llm/commands/serve.py and llmapi/llm_args.py.

Most knobs have no flag and go into a file of options, which the command writes for itself: JSON is YAML.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.launch._knobs import Knob, Line, Only, Value, check_profile, quantization, read, rendered, stated
from simulator.errors import InputError
from simulator.spec.deployment import Resolved

PROFILE = "tensorrt_llm-1.2"
WRITE = 'f=$(mktemp) && printf %s "$1" > "$f" && shift && exec "$@" --extra_llm_api_options "$f"'
HEAD = ("sh", "-c", WRITE, "trtllm")
SERVE = ("trtllm-serve", "serve")
LARGEST_GRAPH = 128

KNOBS: Mapping[str, Knob] = {
    "engine": Only(PROFILE, "the version that this is written for"),
    "scheduler": Only("vllm_v1", "the policy that its batching is simulated as"),
    "scheduler_options": Only({}, "that policy has none"),
    "attention_backend": Only("auto", "TensorRT-LLM chooses by itself"),
    "kv_allocator": Only("paged", "TensorRT-LLM has no other"),
    "determinism": Only("none", "TensorRT-LLM verifies no tokens"),
    "verification_window": Only(None, "TensorRT-LLM verifies no tokens"),
    "verification_sequences": Only(None, "TensorRT-LLM verifies no tokens"),
    "data_parallel_size": Only(1, "TensorRT-LLM divides the attention of one engine instead"),
    "pp_layer_partition": Only(None, "TensorRT-LLM divides layers evenly"),
    "scheduling_policy": Only("fcfs", "TensorRT-LLM's server knows no priorities"),
    "long_prefill_token_threshold": Only(0, "TensorRT-LLM has no such limit"),
    "scheduler_reserve_full_isl": Only(True, "TensorRT-LLM has no such switch"),
    "tensor_parallel_size": Value("--tp_size", int),
    "pipeline_parallel_size": Value("--pp_size", int),
    "max_num_batched_tokens": Value("--max_num_tokens", int),
    "max_num_seqs": Value("--max_batch_size", int),
    "max_model_len": Value("--max_seq_len", int),
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
    quantization(deployment, ())
    if name not in (None, model, model.rpartition("/")[2]):
        raise InputError("name", name, f"{model}, since TensorRT-LLM serves a model as what it was loaded from")
    experts = deployment.tensor_parallel_size if deployment.enable_expert_parallel else 1
    return (
        *(*HEAD, json.dumps(_options(deployment))),
        *(*SERVE, model, "--backend", "pytorch", "--host", host, "--port", str(port)),
        *rendered(KNOBS, deployment),
        *("--ep_size", str(experts)),
        *more,
    )


def _options(deployment: Resolved) -> dict[str, Any]:
    """Returns the file of options."""
    if deployment.cudagraph_mode not in ("FULL_DECODE_ONLY", "NONE"):
        raise InputError("cudagraph_mode", deployment.cudagraph_mode, "FULL_DECODE_ONLY, NONE")
    if deployment.kv_cache_dtype not in ("auto", "fp8"):
        raise InputError("kv_cache_dtype", deployment.kv_cache_dtype, "auto, fp8")
    # https://github.com/NVIDIA/TensorRT-LLM/blob/main/docs/source/features/kvcache.md
    if deployment.block_size < 2 or deployment.block_size.bit_count() != 1:
        raise InputError("block_size", deployment.block_size, "a power of 2 above 1 with TensorRT-LLM")
    blocks = deployment.num_gpu_blocks_override
    cache = {
        "dtype": deployment.kv_cache_dtype,
        "tokens_per_block": deployment.block_size,
        "enable_block_reuse": deployment.enable_prefix_caching,
        # Not by its flag: a group in the file can take the place of what flags say of the group.
        "free_gpu_memory_fraction": deployment.gpu_memory_utilization,
        **({} if blocks is None else {"max_tokens": blocks * deployment.block_size}),
    }
    graphs = {"enable_padding": True, "max_batch_size": LARGEST_GRAPH} if deployment.cudagraph_mode != "NONE" else None
    return {
        "dtype": deployment.dtype,
        "kv_cache_config": cache,
        "cuda_graph_config": graphs,
        "disable_overlap_scheduler": not deployment.async_scheduling,
        # What the simulated policy does: prompts in chunks, and no memory held for tokens that are not there yet.
        "enable_chunked_prefill": True,
        "scheduler_config": {"capacity_scheduler_policy": "MAX_UTILIZATION"},
    }


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """Returns the knobs that a command line of `trtllm-serve` with its options states."""
    line = read(arguments)
    if line.words[:4] != HEAD or line.words[5:7] != SERVE:
        raise InputError("command", " ".join(arguments), f"sh -c ... {' '.join(SERVE)} MODEL --FLAG ...")
    return {**stated(KNOBS, line), **_stated_options(line, json.loads(line.words[4]))}


def _stated_options(line: Line, options: Mapping[str, Any]) -> dict[str, Any]:
    cache = options["kv_cache_config"]
    tokens = cache.get("max_tokens")
    return {
        "dtype": options["dtype"],
        "kv_cache_dtype": cache["dtype"],
        "block_size": cache["tokens_per_block"],
        "enable_prefix_caching": cache["enable_block_reuse"],
        "gpu_memory_utilization": cache["free_gpu_memory_fraction"],
        "num_gpu_blocks_override": None if tokens is None else tokens // cache["tokens_per_block"],
        "cudagraph_mode": "NONE" if options["cuda_graph_config"] is None else "FULL_DECODE_ONLY",
        "async_scheduling": not options["disable_overlap_scheduler"],
        "enable_expert_parallel": Value("--ep_size", int).stated(line) != (1,),
    }
