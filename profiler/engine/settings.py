"""Settings: the knobs of a serving engine under vLLM's flag names, and the limits that follow from them."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt

from simulator import catalog
from simulator.kernel.limits import Limits
from simulator.knobs import limits_of
from simulator.spec.base import Spec
from simulator.spec.deployment import Resolved

# Knobs that mean the same in a Deployment.
SHARED = (
    *("scheduler", "scheduler_options", "max_num_batched_tokens", "max_num_seqs", "block_size", "max_model_len"),
    *("num_gpu_blocks_override", "gpu_memory_utilization", "enable_prefix_caching", "async_scheduling", "scheduling_policy"),
    *("long_prefill_token_threshold", "scheduler_reserve_full_isl", "tensor_parallel_size", "dtype"),
    *("pipeline_parallel_size", "pp_layer_partition"),
)


class Settings(Spec):
    """One engine; max_model_len and num_gpu_blocks_override left out follow from the model and the memory.

    `auto` is CUDA where there is a device, and the dtype of the weights.
    """

    scheduler: str = "vllm_v1"
    scheduler_options: dict[str, Any] = Field(default_factory=dict)
    max_num_batched_tokens: PositiveInt = 2048
    max_num_seqs: PositiveInt = 64
    block_size: PositiveInt = 16
    max_model_len: PositiveInt | None = None
    num_gpu_blocks_override: PositiveInt | None = None
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    enable_prefix_caching: bool = True
    async_scheduling: bool = False
    scheduling_policy: Literal["fcfs", "priority"] = "fcfs"
    long_prefill_token_threshold: int = Field(default=0, ge=0)
    scheduler_reserve_full_isl: bool = True
    tensor_parallel_size: PositiveInt = 1
    pipeline_parallel_size: PositiveInt = 1
    pp_layer_partition: tuple[PositiveInt, ...] | None = Field(default=None, strict=False)
    attention_backend: str = "sdpa"
    kv_allocator: str = "paged"
    graphs: str = "off"
    graph_memory_bytes: PositiveInt | None = None
    determinism: Literal["none", "verified"] = "none"
    verification_window: PositiveInt = 32
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    seed: int = Field(default=0, ge=0)

    @classmethod
    def of(cls, deployment: Resolved, **more: Any) -> Self:
        """Returns the settings of one engine of a deployment, with `more` that a deployment does not say (device, seed, ...)."""
        same = {name: getattr(deployment, name) for name in cls.model_fields if name in SHARED}
        return cls(**{**same, **more})

    def policy(self, field: str = "scheduler") -> ModuleType:
        """Returns the scheduler's module; raises InputError under `field`, listing the choices."""
        return catalog.module("schedulers", self.scheduler, field)

    def limits(self, max_model_len: int, kv_blocks: int) -> Limits:
        """Returns what the scheduler and the KV pool allow: the same as of a Deployment with the same knobs."""
        return limits_of(self, self.policy(), max_model_len, kv_blocks)
