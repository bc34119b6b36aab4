"""vLLM's first scheduler: prompts go first and alone, in whole; decodes wait for them.

A step of prompts holds as many from the head of the queue as seats, blocks (1 % stays free) and the token budget allow;
the budget counts each at the length of the longest, since they were padded to it. Only a step without a prompt decodes.
Rules as Vidur restates them, but for one that it shares with that vLLM: `spare_block` lets a decode go on only while some
block is free, even when its last one has room.
"""

from __future__ import annotations

from typing import Any

from simulator.kernel.blocks import admit_in_order, blocks_for, grow
from simulator.kernel.jit import inner, kernel
from simulator.kernel.records import NOBODY, SCHEDULE, Record
from simulator.schedulers._steps import continue_decodes
from simulator.spec.base import Spec

WATERMARK = 0.01
WHOLE_PROMPT = True
CHUNKS = False
RESERVES = False
CACHES = False
OWN_MICRO_BATCH = True
COUNTABLE = False


class Options(Spec):
    """Whether a decode asks for a free block that it may not need."""

    spare_block: bool = False


def encode(options: Options) -> tuple[int, ...]:
    """Returns the option as the policy reads it."""
    return (int(options.spare_block),)


@kernel(SCHEDULE)
def schedule(config: Record, replica: Record, requests: Any, running: Any, cache: Any) -> None:
    """Decides one step."""
    if admit_prompts(config, replica, requests, running, cache) == 0:
        continue_decodes(config, replica, requests, running, cache, config.options[0])


@inner
def admit_prompts(config: Record, replica: Record, requests: Any, running: Any, cache: Any) -> int:
    """Admits whole prompts from the head of the queue; returns how many."""
    count, longest = 0, 0
    while replica.waiting_head != NOBODY and replica.num_running < config.max_num_seqs and count < config.micro_batch_seqs:
        i = replica.waiting_head
        request = requests[i]
        longest = max(longest, request.known_tokens)
        need = blocks_for(request.known_tokens, config.block_size)
        if (count + 1) * longest > config.max_num_batched_tokens or request.exhausted:
            break
        if replica.free_blocks - need < config.watermark_blocks:
            break
        admit_in_order(replica, requests, running, i)
        grow(config, replica, request, cache, request.known_tokens)
        request.scheduled_tokens = request.known_tokens
        count += 1
    return count
