"""A deployment with every knob said, for tests that change a few."""

from __future__ import annotations

from typing import Any

from simulator.spec.deployment import Resolved

FIELDS: dict[str, Any] = {
    "model": "meta-llama/Llama-3.1-8B",
    "engine": "vllm-0.19",
    "device": "H200-SXM",
    "dtype": "bfloat16",
    "tensor_parallel_size": 1,
    "pipeline_parallel_size": 1,
    "data_parallel_size": 1,
    "pp_layer_partition": None,
    "replicas": 1,
    "scheduler": "vllm_v1",
    "scheduler_options": {},
    "max_num_batched_tokens": 2048,
    "max_num_seqs": 256,
    "block_size": 16,
    "max_model_len": 8192,
    "gpu_memory_utilization": 0.9,
    "num_gpu_blocks_override": None,
    "enable_prefix_caching": True,
    "async_scheduling": True,
    "scheduling_policy": "fcfs",
    "long_prefill_token_threshold": 0,
    "scheduler_reserve_full_isl": True,
    "cudagraph_mode": "FULL_AND_PIECEWISE",
    "router": "round_robin",
    "api_server_s_per_request": 0.0,
    "api_server_s_per_prompt_token": 0.0,
    "detokenize_s_per_token": 0.0,
}


def resolved(**fields: Any) -> Resolved:
    """Returns a deployment that differs from the plain one in the fields given."""
    return Resolved(**{**FIELDS, **fields})
