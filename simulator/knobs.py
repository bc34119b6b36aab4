"""From an engine's knobs to its limits: one rule for an engine that is simulated and for one that runs."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Protocol

from simulator.kernel.limits import Limits


class Knobs(Protocol):
    """What a scheduler is told, under vLLM's flag names."""

    @property
    def scheduler_options(self) -> dict[str, Any]:
        """The options of the scheduler."""

    @property
    def max_num_batched_tokens(self) -> int:
        """The tokens of a step."""

    @property
    def max_num_seqs(self) -> int:
        """The requests that run."""

    @property
    def block_size(self) -> int:
        """The tokens of a KV block."""

    @property
    def long_prefill_token_threshold(self) -> int:
        """The tokens of a prompt in a step, 0 for any number."""

    @property
    def scheduler_reserve_full_isl(self) -> bool:
        """Whether a prompt is admitted only when all of it has room."""

    @property
    def scheduling_policy(self) -> str:
        """Who goes first: fcfs or priority."""

    @property
    def async_scheduling(self) -> bool:
        """Whether a step is decided before the last one has landed."""

    @property
    def enable_prefix_caching(self) -> bool:
        """Whether blocks are found again by their content."""

    @property
    def pipeline_parallel_size(self) -> int:
        """The stages of the pipeline."""


def limits_of(knobs: Knobs, policy: ModuleType, max_model_len: int, kv_blocks: int, field: str = "") -> Limits:
    """Returns what the knobs, the policy and so many KV blocks allow one engine; raises InputError for unknown options."""
    options: tuple[int, ...] = ()
    if hasattr(policy, "Options"):
        options = policy.encode(policy.Options.parse(knobs.scheduler_options, f"{field}scheduler_options"))
    return Limits(
        max_num_batched_tokens=knobs.max_num_batched_tokens,
        max_num_seqs=knobs.max_num_seqs,
        block_size=knobs.block_size,
        max_model_len=max_model_len,
        kv_blocks=kv_blocks,
        watermark_blocks=int(policy.WATERMARK * kv_blocks),
        long_prefill_token_threshold=knobs.long_prefill_token_threshold,
        reserve_full_isl=knobs.scheduler_reserve_full_isl,
        by_priority=knobs.scheduling_policy == "priority",
        asynchronous=knobs.async_scheduling,
        pipeline_stages=knobs.pipeline_parallel_size,
        own_micro_batch=policy.OWN_MICRO_BATCH,
        longest_prompt=None if policy.CHUNKS or policy.RESERVES else knobs.max_num_batched_tokens,
        prefix_caching=knobs.enable_prefix_caching and policy.CACHES,
        whole_prompt=policy.WHOLE_PROMPT,
        options=options,
    )
