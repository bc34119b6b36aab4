"""A deployment in few words, from its document: how the model is kept, and how it is spread over GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def model(deployment: Mapping[str, Any]) -> str:
    """Returns the model, with what its weights and KV are kept in where that is not its dtype."""
    weights, kv = deployment.get("quantization", "none"), deployment.get("kv_cache_dtype", "auto")
    kept = [f"{weights} weights"] * (weights != "none") + [f"{kv} KV"] * (kv != "auto")
    return f"{deployment['model']} ({', '.join(kept)})" if kept else str(deployment["model"])


def parallelism(deployment: Mapping[str, Any]) -> str:
    """Returns `TP2 PP2 DP4 EP`, of which only TP is always told."""
    sizes = {"PP": "pipeline_parallel_size", "DP": "data_parallel_size"}
    found = [f"TP{deployment['tensor_parallel_size']}"]
    found += [f"{short}{deployment[name]}" for short, name in sizes.items() if deployment.get(name, 1) > 1]
    return " ".join([*found, *(["EP"] if deployment.get("enable_expert_parallel") else [])])


def in_short(deployment: Mapping[str, Any]) -> list[str]:
    """Returns the machines first, then the scheduler and its budget: `1x H100-SXM TP1`, `vllm_v1`, `2048 tok`."""
    machines = f"{deployment['replicas']}x {deployment['device']} {parallelism(deployment)}"
    return [machines, str(deployment["scheduler"]), f"{deployment['max_num_batched_tokens']} tok"]
