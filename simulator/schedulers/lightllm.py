"""LightLLM: prompts are admitted when the KV that all running requests will need at its peak fits the pool.

The peak is reckoned as if every request went on to the tokens that its client allows (`max_new_tokens`): sorted by
tokens still to come, the i-th longest ends when the i longest hold all that they need until then. Prompts go alone and in
whole, when nobody runs or after `max_waiting_iters` steps of decoding. Rules as Vidur restates them; under pipeline
parallelism requests in flight count here, where Vidur forgets them, and micro-batches of decodes are held to their size.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from simulator.kernel.blocks import admit_in_order, blocks_for, grow
from simulator.kernel.jit import inner, kernel
from simulator.kernel.records import NOBODY, SCHEDULE, Record
from simulator.schedulers._steps import continue_decodes, settled
from simulator.spec.base import Spec

WATERMARK = 0.0
WHOLE_PROMPT = True
CHUNKS = False
RESERVES = False
CACHES = False
OWN_MICRO_BATCH = True
COUNTABLE = False


class Options(Spec):
    """Steps of decoding between two tries to admit; and what clients allow, 0: what each request says of itself."""

    max_waiting_iters: int = Field(default=10, ge=0)
    max_new_tokens: int = Field(default=0, ge=0)


def encode(options: Options) -> tuple[int, ...]:
    """Returns the options in the order in which the policy reads them."""
    return options.max_waiting_iters, options.max_new_tokens


@kernel(SCHEDULE)
def schedule(config: Record, replica: Record, requests: Any, running: Any, cache: Any) -> None:
    """Decides one step."""
    if not anybody_decodes(config, replica, requests, running):
        if admit_prompts(config, replica, requests, running, cache) > 0:
            replica.memory[0] = 0
        return
    if replica.memory[0] >= config.options[0]:
        replica.memory[0] = 0
        if admit_prompts(config, replica, requests, running, cache) > 0:
            return
    replica.memory[0] += 1
    continue_decodes(config, replica, requests, running, cache, 0)


@inner
def anybody_decodes(config: Record, replica: Record, requests: Any, running: Any) -> bool:
    """Returns whether some running request could take part in a step of decoding."""
    for place in range(replica.num_running):
        request = requests[running[place]]
        if request.decoding and not request.exhausted and settled(config, replica, request):
            return True
    return False


@inner
def admit_prompts(config: Record, replica: Record, requests: Any, running: Any, cache: Any) -> int:
    """Admits whole prompts from the head of the queue while budget, seats and the peak allow; returns how many."""
    count, tokens = 0, 0
    while replica.waiting_head != NOBODY and replica.num_running < config.max_num_seqs and count < config.micro_batch_seqs:
        i = replica.waiting_head
        request = requests[i]
        tokens += request.known_tokens
        room = (replica.total_blocks * config.block_size) - (replica.num_running + 1) * (config.block_size - 1)
        if tokens > config.max_num_batched_tokens or request.exhausted:
            break
        # Whatever it may become, a request that is alone has the pool for itself.
        if replica.num_running > 0 and peak_tokens(config, replica, requests, running, request) >= room:
            break
        if blocks_for(request.known_tokens, config.block_size) > replica.free_blocks:
            break
        admit_in_order(replica, requests, running, i)
        grow(config, replica, request, cache, request.known_tokens)
        request.scheduled_tokens = request.known_tokens
        count += 1
    return count


@inner
def peak_tokens(config: Record, replica: Record, requests: Any, running: Any, candidate: Record) -> int:
    """Returns the most KV tokens that the running requests and the candidate will hold together."""
    most = peak_at(config, replica, requests, running, candidate, to_come(config, candidate))
    for place in range(replica.num_running):
        rest = to_come(config, requests[running[place]])
        most = max(most, peak_at(config, replica, requests, running, candidate, rest))
    return most


@inner
def peak_at(config: Record, replica: Record, requests: Any, running: Any, candidate: Record, rest: int) -> int:
    """Returns the KV tokens that all with at least `rest` tokens to come will hold when the first of them ends."""
    held = 0
    if to_come(config, candidate) >= rest:
        held += holding(candidate) + rest
    for place in range(replica.num_running):
        request = requests[running[place]]
        if to_come(config, request) >= rest:
            held += holding(request) + rest
    return held


@inner
def holding(request: Record) -> int:
    """Returns the KV tokens of a request once it has its next token; one without a first token gets that beside it."""
    return int(request.known_tokens if request.decoding else request.known_tokens + 1)


@inner
def to_come(config: Record, request: Record) -> int:
    """Returns the tokens that the request may still make beyond those that it holds."""
    limit = config.options[1] if config.options[1] > 0 else request.max_new_tokens
    made = request.known_tokens - request.prompt_tokens
    return int(max(limit - made - (1 if request.decoding else 2), 0))
