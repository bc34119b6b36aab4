"""Deployment: everything that an operator chooses, under vLLM's flag names."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt

from simulator.spec.base import Spec
from simulator.spec.model import Quantization

GraphMode = Literal["NONE", "PIECEWISE", "FULL_DECODE_ONLY", "FULL_AND_PIECEWISE", "SELECTIVE"]


class Deployment(Spec):
    """One pool of equal replicas of a model behind a router; a knob left out takes the engine profile's default."""

    model: str
    engine: str = "vllm-0.19"
    device: str
    dtype: Literal["auto", "bfloat16", "float16", "float32"] | None = None
    quantization: Quantization | None = None
    kv_cache_dtype: Literal["auto", "fp8"] | None = None
    enable_expert_parallel: bool = False
    expert_load: str = "balanced"
    tensor_parallel_size: PositiveInt = 1
    pipeline_parallel_size: PositiveInt = 1
    data_parallel_size: PositiveInt = 1
    pp_layer_partition: tuple[PositiveInt, ...] | None = Field(default=None, strict=False)
    replicas: PositiveInt = 1
    scheduler: str | None = None
    scheduler_options: dict[str, Any] | None = None
    max_num_batched_tokens: PositiveInt | None = None
    max_num_seqs: PositiveInt | None = None
    block_size: PositiveInt | None = None
    max_model_len: PositiveInt | None = None
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    num_gpu_blocks_override: PositiveInt | None = None
    enable_prefix_caching: bool | None = None
    async_scheduling: bool | None = None
    scheduling_policy: Literal["fcfs", "priority"] | None = None
    long_prefill_token_threshold: int | None = Field(default=None, ge=0)
    scheduler_reserve_full_isl: bool | None = None
    cudagraph_mode: GraphMode | None = None
    attention_backend: Literal["auto", "serial", "pod"] | None = None
    kv_allocator: Literal["paged", "contiguous"] | None = None
    kv_page_bytes: PositiveInt | None = None
    determinism: Literal["none", "verified"] | None = None
    verification_window: PositiveInt | None = None
    verification_sequences: PositiveInt | None = None
    deterministic_share: float | None = Field(default=None, gt=0, le=1)
    router: str | None = None
    api_server_s_per_request: float = Field(default=0.0, ge=0)
    api_server_s_per_prompt_token: float = Field(default=0.0, ge=0)
    detokenize_s_per_token: float = Field(default=0.0, ge=0)

    @property
    def gpus_per_replica(self) -> int:
        """The GPUs that one replica occupies."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size

    @property
    def gpus(self) -> int:
        """The GPUs of the whole fleet."""
        return self.gpus_per_replica * self.replicas


class Resolved(Spec):
    """A Deployment in which every knob has its value, as it is simulated, stored and printed."""

    model: str
    engine: str
    device: str
    dtype: Literal["bfloat16", "float16", "float32"]
    quantization: Quantization = "none"
    kv_cache_dtype: Literal["auto", "fp8"] = "auto"
    enable_expert_parallel: bool = False
    expert_load: str = "balanced"
    tensor_parallel_size: PositiveInt
    pipeline_parallel_size: PositiveInt
    data_parallel_size: PositiveInt = 1
    pp_layer_partition: tuple[PositiveInt, ...] | None = Field(default=None, strict=False)
    replicas: PositiveInt
    scheduler: str
    scheduler_options: dict[str, Any] = Field(default_factory=dict)
    max_num_batched_tokens: PositiveInt
    max_num_seqs: PositiveInt
    block_size: PositiveInt
    max_model_len: PositiveInt
    gpu_memory_utilization: float = Field(gt=0, le=1)
    num_gpu_blocks_override: PositiveInt | None
    enable_prefix_caching: bool
    async_scheduling: bool
    scheduling_policy: Literal["fcfs", "priority"]
    long_prefill_token_threshold: int = Field(ge=0)
    scheduler_reserve_full_isl: bool
    cudagraph_mode: GraphMode
    attention_backend: Literal["auto", "serial", "pod"] = "auto"
    kv_allocator: Literal["paged", "contiguous"] = "paged"
    kv_page_bytes: PositiveInt | None = None
    determinism: Literal["none", "verified"] = "none"
    verification_window: PositiveInt | None = None
    verification_sequences: PositiveInt | None = None
    deterministic_share: float | None = Field(default=None, gt=0, le=1)
    router: str
    api_server_s_per_request: float = Field(default=0.0, ge=0)
    api_server_s_per_prompt_token: float = Field(default=0.0, ge=0)
    detokenize_s_per_token: float = Field(default=0.0, ge=0)

    def __hash__(self) -> int:
        return hash(self.canonical())

    @property
    def gpus_per_replica(self) -> int:
        """The GPUs that one replica occupies."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size

    @property
    def gpus(self) -> int:
        """The GPUs of the whole fleet."""
        return self.gpus_per_replica * self.replicas

    def with_replicas(self, replicas: int) -> Resolved:
        """Returns the same deployment with another number of replicas."""
        return self.model_copy(update={"replicas": replicas})
