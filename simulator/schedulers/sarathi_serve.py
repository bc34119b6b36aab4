"""Sarathi-Serve's stall-free batching (arXiv 2403.02310, algorithm 3): decodes, then chunks, then admissions.

Every decode takes part in every step; part-done prompts and then new ones share what is left of the token budget. A
prompt's blocks are all taken at its admission, which leaves 1 % of the pool free. Rules as in microsoft/sarathi-serve and
as Vidur restates them, but for one of both: `spare_block` lets a decode go on only while some block is free, even when its
last one has room.

The paper's ablations: `hybrid_only` puts prompts beside decodes but in whole, each when all of it fits the budget;
`chunked_only` computes the same chunks in steps of their own, which take turns with steps of decodes. Under a chunk
schedule the budget of a prompt falls as it goes on: from `high_chunk_size` at its start to `low_chunk_size` at
`chunk_schedule_max_tokens`, in `chunk_schedule_stages` of equal length, each size rounded to a multiple of 32.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from simulator.errors import InputError
from simulator.kernel.blocks import admit_in_order, blocks_for, grow
from simulator.kernel.jit import inner, kernel
from simulator.kernel.records import NOBODY, SCHEDULE, Record
from simulator.schedulers._steps import continue_decodes, settled
from simulator.spec.base import Spec
from simulator.spec.deployment import Resolved

WATERMARK = 0.01
WHOLE_PROMPT = True
CHUNKS = True
RESERVES = False
CACHES = False
OWN_MICRO_BATCH = True
COUNTABLE = True

COMBINED, HYBRID_ONLY, CHUNKED_ONLY = 0, 1, 2
BATCHING = {"combined": COMBINED, "hybrid_only": HYBRID_ONLY, "chunked_only": CHUNKED_ONLY}
GRAIN = 32


class Options(Spec):
    """How prompts and decodes share steps, whether decodes need a spare block, and the chunk schedule: all four or none."""

    batching: Literal["combined", "hybrid_only", "chunked_only"] = "combined"
    low_chunk_size: int = Field(default=0, ge=0, multiple_of=GRAIN)
    high_chunk_size: int = Field(default=0, ge=0, multiple_of=GRAIN)
    chunk_schedule_max_tokens: int = Field(default=0, ge=0)
    chunk_schedule_stages: int = Field(default=0, ge=0)
    spare_block: bool = False


def encode(options: Options) -> tuple[int, ...]:
    """Returns the options in the order in which the policy reads them."""
    schedule_of = (options.low_chunk_size, options.high_chunk_size, options.chunk_schedule_max_tokens)
    return BATCHING[options.batching], *schedule_of, options.chunk_schedule_stages, int(options.spare_block)


def check(options: Options, deployment: Resolved, field: str) -> None:
    """Raises InputError under `field` for half a chunk schedule, one beyond the budget, or a budget below a whole prompt."""
    budget, longest = deployment.max_num_batched_tokens, deployment.max_model_len
    if options.batching == "hybrid_only" and budget < longest:
        allowed = f"a max_num_batched_tokens of at least max_model_len ({longest}) with it, not {budget}"
        raise InputError(f"{field}.batching", options.batching, allowed)
    numbers = options.model_dump(exclude={"batching", "spare_block"})
    missing = [name for name, number in numbers.items() if number == 0]
    if 0 < len(missing) < len(numbers):
        raise InputError(f"{field}.{missing[0]}", 0, "a number above 0 beside the rest of the chunk schedule")
    if options.batching == "hybrid_only" and not missing:
        raise InputError(f"{field}.batching", options.batching, "combined or chunked_only beside a chunk schedule")
    if options.high_chunk_size > budget:
        raise InputError(f"{field}.high_chunk_size", options.high_chunk_size, f"at most max_num_batched_tokens ({budget})")
    if options.low_chunk_size > options.high_chunk_size:
        raise InputError(f"{field}.low_chunk_size", options.low_chunk_size, f"at most high_chunk_size ({options.high_chunk_size})")


@kernel(SCHEDULE)
def schedule(config: Record, replica: Record, requests: Any, running: Any, cache: Any) -> None:
    """Decides one step."""
    if config.options[0] == CHUNKED_ONLY:
        take_turns(config, replica, requests, running, cache)
        return
    decodes = continue_decodes(config, replica, requests, running, cache, config.options[5])
    used, count = continue_prompts(config, replica, requests, running, decodes, decodes)
    admit_waiting(config, replica, requests, running, cache, used, count)


@inner
def take_turns(config: Record, replica: Record, requests: Any, running: Any, cache: Any) -> None:
    """Decides a step of chunks, or of decodes after one of chunks and where there is no chunk."""
    chunks_went_last = replica.memory[0]
    replica.memory[0] = 0
    if chunks_went_last and continue_decodes(config, replica, requests, running, cache, config.options[5]) > 0:
        return
    _, count = continue_prompts(config, replica, requests, running, 0, 0)
    if count == 0:
        count = admit_waiting(config, replica, requests, running, cache, 0, 0)
    if count > 0:
        replica.memory[0] = 1
    elif not chunks_went_last:
        continue_decodes(config, replica, requests, running, cache, config.options[5])


@inner
def continue_prompts(config: Record, replica: Record, requests: Any, running: Any, used: int, count: int) -> tuple[int, int]:
    """Gives part-done prompts what the budget leaves, the oldest first; returns the tokens used and the step's requests."""
    for place in range(replica.num_running):
        request = requests[running[place]]
        if count >= config.micro_batch_seqs:
            break
        if not request.decoding and not request.exhausted and settled(config, replica, request):
            tokens = chunk(config, request, used)
            if tokens > 0:
                request.scheduled_tokens = tokens
                used += tokens
                count += 1
    return used, count


@inner
def admit_waiting(config: Record, replica: Record, requests: Any, running: Any, cache: Any, used: int, count: int) -> int:
    """Admits from the head of the queue while budget, seats and the blocks of whole prompts are there; returns the count."""
    while replica.waiting_head != NOBODY and replica.num_running < config.max_num_seqs and count < config.micro_batch_seqs:
        i = replica.waiting_head
        request = requests[i]
        tokens = chunk(config, request, used)
        need = blocks_for(request.known_tokens, config.block_size)
        if tokens <= 0 or request.exhausted or replica.free_blocks - need < config.watermark_blocks:
            break
        admit_in_order(replica, requests, running, i)
        grow(config, replica, request, cache, request.known_tokens)
        request.scheduled_tokens = tokens
        used += tokens
        count += 1
    return count


@inner
def chunk(config: Record, request: Record, used: int) -> int:
    """Returns the tokens that a prompt is given beside those that the step uses already; none or less when none are left."""
    owed = request.known_tokens - request.computed_tokens
    budget = config.max_num_batched_tokens
    if config.options[4] > 0:
        budget = scheduled_budget(config, request.computed_tokens)
    if config.options[0] == HYBRID_ONLY and owed > budget - used:
        return 0
    return int(min(owed, budget - used))


@inner
def scheduled_budget(config: Record, computed: int) -> int:
    """Returns the step's tokens for a prompt of which so many are computed: sizes fall evenly, each to the nearest grain."""
    low, high, last, stages = config.options[1], config.options[2], config.options[3], config.options[4]
    stage = min(computed // ((last + stages - 1) // stages), stages - 1)
    size = low + (high - low) * (stages - 1 - stage) // max(stages - 1, 1)
    grains, rest = size // GRAIN, size % GRAIN
    # Halves go to the even number of grains, as numpy rounds them.
    if 2 * rest > GRAIN or (2 * rest == GRAIN and grains % 2 == 1):
        grains += 1
    return int(grains * GRAIN)
