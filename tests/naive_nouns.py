"""What the oracle is about: what an engine allows, a request and all that happens to it, and a step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Knobs:
    """What the scheduler, the KV pool and the engine around them allow; `options` are the policy's own knobs."""

    scheduler: str
    max_num_batched_tokens: int
    max_num_seqs: int
    block_size: int
    max_model_len: int
    kv_blocks: int
    watermark_blocks: int = 0
    long_prefill_token_threshold: int = 0
    reserve_full_isl: bool = True
    by_priority: bool = False
    asynchronous: bool = False
    prefix_caching: bool = False
    pipeline_stages: int = 1
    group: int = 1
    api_s_per_request: float = 0.0
    api_s_per_prompt_token: float = 0.0
    detokenize_s_per_token: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def steps_in_flight(self) -> int:
        """How many steps may be under way at once."""
        return self.pipeline_stages if self.pipeline_stages > 1 else 2 if self.asynchronous else 1

    @property
    def blind(self) -> bool:
        """Whether a request goes on while its last token is under way, which then counts as known."""
        return self.asynchronous and self.pipeline_stages == 1

    @property
    def micro_batch_seqs(self) -> int:
        """How many requests a step of those policies may hold that share the seats out among micro-batches."""
        return max(self.max_num_seqs // self.pipeline_stages, 1)


@dataclass(eq=False)
class Request:
    """One request; a token is sampled when a step starts, and is here at the time it is seen, after the step's end."""

    number: int
    arrived_at: float
    prompt: int
    output: int
    priority: int = 0
    max_new_tokens: int = 0  # what its client allows at most; only a policy that asks for it needs it
    content: Sequence[int] | None = None  # what is in its full blocks: equal ids are equal tokens after equal tokens
    after: int = -1  # the request that it follows, `arrived_at` being set by that one's end
    think_s: float = 0.0
    cancel_after_s: float = math.inf
    expires: bool = False

    replica: int = -1
    first_scheduled_at: float = math.nan
    token_times: list[float] = field(default_factory=list)
    finished: bool = False
    rejected: bool = False
    cancelled: bool = False
    expired: bool = False
    preemptions: int = 0
    preempted_at: float = math.nan
    preempted_s: float = 0.0
    cached: int = -1  # tokens found in the prefix cache when first admitted; -1 before
    bubble_s: float = 0.0
    bubbles_before: float = 0.0

    computed: int = 0
    in_flight: int = 0  # tokens that were sampled by steps under way
    flying: int = 0  # steps under way that it takes part in
    decoding: bool = False  # has sampled since it was last admitted
    blocks: list[int] = field(default_factory=list)
    entered: int = 0  # blocks that are known to the prefix cache
    tag: int = 0  # the policy's own note

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.finished or self.rejected or self.cancelled or self.expired

    @property
    def landed(self) -> int:
        """Tokens of prompt and of outputs that the engine has seen."""
        return self.prompt + len(self.token_times)

    @property
    def gaps(self) -> list[float]:
        """Seconds between consecutive tokens."""
        return [late - early for early, late in zip(self.token_times, self.token_times[1:], strict=False)]

    @property
    def urgency(self) -> tuple[int, float, str]:
        """The sorting key of the priority policy's queue."""
        return self.priority, self.arrived_at, str(self.number)


@dataclass(eq=False)
class Step:
    """One iteration of one engine: what was decided, when it ran, and what came of it."""

    sched_s: float
    scheduled: list[tuple[int, int]]  # request, tokens
    admitted: list[tuple[int, int]]  # request, tokens found in the prefix cache
    preempted: list[int]
    num_running: int
    num_waiting: int
    free_blocks: int
    kv_tokens: int
    start_s: float = math.nan
    end_s: float = math.nan
    finished: list[int] = field(default_factory=list)
    stages: list[tuple[float, float]] = field(default_factory=list)  # when each stage worked on it

    @property
    def tokens(self) -> int:
        """Tokens scheduled."""
        return sum(tokens for _, tokens in self.scheduled)


Batch = dict[Request, int]
