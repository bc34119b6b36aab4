"""SGLang's scheduler: prompts go first, in chunks; decodes go when no prompt may, or beside the chunks when mixed.

A prompt is admitted from the head of the queue when it and all that it may make (`max_new_tokens`, at most 4096) fit into
the free KV less what the running requests are expected to make: the share `new_token_ratio` of what they may still make.
The share falls with every step of decodes and rises to what was seen when KV runs out; then those with the fewest outputs
are retracted, to the end of the queue. `max_num_batched_tokens` is chunked_prefill_size, `block_size` is page_size. Once
the batch was full, nobody is admitted until a step of decodes has found that somebody left.

Rules as in scheduler.py and schedule_policy.py (PrefillAdder) of SGLang 0.5, first come first served. Left out: other
queue orders, preemption by priority, the estimate for `ignore_eos` without a radix cache, LoRA, hierarchical caches. Two
things differ so that no engine can stall: one that runs nothing admits the head of its queue when it fits the pool, and a
part-done prompt goes back when the only decode lacks a block.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveInt

from simulator.errors import InputError
from simulator.kernel.blocks import admit, blocks_for, flying, grow, preempt
from simulator.kernel.jit import inner, kernel
from simulator.kernel.prefix import claim, found, held_by_others
from simulator.kernel.records import NOBODY, SCHEDULE, Record
from simulator.kernel.waiting import enqueue, unlink
from simulator.spec.base import Spec
from simulator.spec.deployment import Resolved

WATERMARK = 0.0
WHOLE_PROMPT = False
CHUNKS = True
RESERVES = False
CACHES = True
OWN_MICRO_BATCH = True
COUNTABLE = False
KNOBS = ("scheduling_policy",)

# SGLang's own constants: the clip of what a request may make, the first share, the last as a part of it, the steps between.
CLIP, FIRST_RATIO, LAST_RATIO, RATIO_STEPS, RETRACT_STEPS = 4096, 0.7, 0.14, 600, 20
BILLION = 1_000_000_000
# The policy's memory of a replica: the share in billionths, whether the batch is full, requests that ran after the last step.
RATIO, FULL, RAN = 0, 1, 2


class Options(Spec):
    """SGLang's flags; `max_new_tokens` is what clients allow, 0: what each request says of itself."""

    enable_mixed_chunk: bool = False
    schedule_conservativeness: float = Field(default=1.0, gt=0)
    max_prefill_tokens: PositiveInt = 16384
    max_new_tokens: int = Field(default=0, ge=0)


def encode(options: Options) -> tuple[int, ...]:
    """Returns the options in the order in which the policy reads them."""
    first = round(min(FIRST_RATIO * options.schedule_conservativeness, 1.0) * BILLION)
    last = round(first * LAST_RATIO)
    return int(options.enable_mixed_chunk), options.max_prefill_tokens, options.max_new_tokens, first, last


def check(options: Options, deployment: Resolved, field: str) -> None:
    """Raises InputError for a chunk that is not whole pages, which SGLang refuses."""
    tokens, page = deployment.max_num_batched_tokens, deployment.block_size
    if tokens % page:
        name = field.replace("scheduler_options", "max_num_batched_tokens")
        raise InputError(name, tokens, f"a multiple of block_size ({page}) with sglang")


@kernel(SCHEDULE)
def schedule(config: Record, replica: Record, requests: Any, running: Any, cache: Any) -> None:
    """Decides one step."""
    mixed = config.options[0] > 0
    if replica.num_running == 0:
        replica.memory[RATIO] = config.options[3]
    if mixed or replica.num_running == 0:
        notice_leavers(replica)
    beside = count_decodes(config, replica, requests, running) if mixed else 0
    prompts = continue_prompt(config, replica, requests, running, cache, beside)
    if prompts == 0:
        make_room(config, replica, requests, running, cache)
        notice_leavers(replica)
    if prompts == 0 or mixed:
        decode(config, replica, requests, running, cache, config.micro_batch_seqs - prompts)
    replica.memory[RAN] = replica.num_running


@inner
def notice_leavers(replica: Record) -> None:
    """Opens the batch when some request has left since the last step, or nobody runs."""
    if replica.num_running < replica.memory[RAN] or replica.num_running == 0:
        replica.memory[FULL] = 0


@inner
def decodes(config: Record, replica: Record, request: Record) -> bool:
    """Returns whether a running request takes part in a step of decodes."""
    return bool(request.decoding and not request.exhausted and (config.blind or not flying(replica, request)))


@inner
def count_decodes(config: Record, replica: Record, requests: Any, running: Any) -> int:
    """Returns how many running requests take part in a step of decodes."""
    count = 0
    for place in range(replica.num_running):
        if decodes(config, replica, requests[running[place]]):
            count += 1
    return count


@inner
def may_make(config: Record, request: Record) -> int:
    """Returns the output tokens that the request's client allows, clipped as SGLang clips them."""
    return int(min(config.options[2] if config.options[2] > 0 else request.max_new_tokens, CLIP))


@inner
def still_makes(config: Record, request: Record) -> int:
    """Returns how many of those are to come."""
    limit = config.options[2] if config.options[2] > 0 else request.max_new_tokens
    return int(min(max(limit - (request.known_tokens - request.prompt_tokens), 0), CLIP))


@inner
def expected_tokens(config: Record, replica: Record, requests: Any, running: Any) -> float:
    """Returns the KV tokens that running decodes are expected to need yet."""
    total = 0
    for place in range(replica.num_running):
        request = requests[running[place]]
        if request.decoding:
            total += still_makes(config, request)
    return float(total * (replica.memory[RATIO] / BILLION))


# Prompts


@inner
def continue_prompt(config: Record, replica: Record, requests: Any, running: Any, cache: Any, beside: int) -> int:
    """Gives the part-done prompt its next chunk and admits others beside it; returns how many prompts take part."""
    room = replica.free_blocks * config.block_size - expected_tokens(config, replica, requests, running) - beside
    left = config.max_num_batched_tokens - beside
    count = 0
    for place in range(replica.num_running):
        request = requests[running[place]]
        if request.decoding or request.exhausted:
            continue
        if flying(replica, request) and not config.blind:
            return 0
        owed = request.known_tokens - request.computed_tokens
        tokens = min(owed, left, int(room)) if room >= 1 else min(owed, left)
        if tokens <= 0 or not grow(config, replica, request, cache, request.computed_tokens + tokens):
            return 0
        request.scheduled_tokens = tokens
        count += 1
        if tokens < owed:
            return count
        paged = blocks_for(tokens, config.block_size) * config.block_size
        room -= paged + may_make(config, request)
        left -= paged
    return count + admit_waiting(config, replica, requests, running, cache, room, left, count)


@inner
def admit_waiting(
    config: Record, replica: Record, requests: Any, running: Any, cache: Any, room: float, left: int, before: int
) -> int:
    """Admits from the head of the queue, behind so many prompts, while expected KV, budgets and seats allow; returns how many."""
    inputs = config.options[1] - (config.max_num_batched_tokens - left)
    added = 0
    while left > 0 and replica.waiting_head != NOBODY and replica.memory[FULL] == 0:
        i = replica.waiting_head
        request = requests[i]
        if request.exhausted:
            break
        hit = found(config, replica, request, cache)
        locked = hit - held_by_others(config, replica, request, cache, hit)
        owed = request.known_tokens - hit * config.block_size
        paged = blocks_for(owed, config.block_size) * config.block_size
        fits = owed + still_makes(config, request) < room - locked * config.block_size or replica.num_running == 0
        if not fits or replica.num_running >= config.max_num_seqs:
            replica.memory[FULL] = 1
            break
        if before + added >= config.micro_batch_seqs or (paged >= inputs and before + added > 0):
            break
        tokens = owed if paged <= left else left // config.block_size * config.block_size
        if tokens <= 0 or blocks_for(tokens, config.block_size) + locked > replica.free_blocks:
            break
        admit(replica, requests, running, i)
        claim(config, replica, requests, i, cache, hit)
        grow(config, replica, request, cache, request.computed_tokens + tokens)
        request.scheduled_tokens = tokens
        added += 1
        if tokens < owed:
            break
        room -= paged + locked * config.block_size + may_make(config, request)
        left -= paged
        inputs -= paged
        if room <= 0:
            replica.memory[FULL] = 1
    return added


# Decodes


@inner
def decode(config: Record, replica: Record, requests: Any, running: Any, cache: Any, seats: int) -> None:
    """Gives every decode that has a seat and a block for it one token."""
    for place in range(replica.num_running):
        request = requests[running[place]]
        if seats <= 0 or not decodes(config, replica, request):
            continue
        if grow(config, replica, request, cache, request.computed_tokens + 1):
            request.scheduled_tokens = 1
            seats -= 1


@inner
def blocks_lacking(config: Record, replica: Record, requests: Any, running: Any) -> int:
    """Returns how many blocks more than the free ones a step of decodes needs."""
    need = 0
    for place in range(replica.num_running):
        request = requests[running[place]]
        if decodes(config, replica, request) and request.computed_tokens + 1 > request.blocks * config.block_size:
            need += 1
    return int(need - replica.free_blocks)


@inner
def make_room(config: Record, replica: Record, requests: Any, running: Any, cache: Any) -> None:
    """Retracts decodes until a step of the others fits, and moves the share of tokens that is expected."""
    first, last = config.options[3], config.options[4]
    if blocks_lacking(config, replica, requests, running) <= 0:
        replica.memory[RATIO] = max(replica.memory[RATIO] - (first - last) // RATIO_STEPS, last)
        return
    left = count_decodes(config, replica, requests, running)
    while left > 1 and blocks_lacking(config, replica, requests, running) > 0:
        retract(config, replica, requests, running, cache, least_advanced(config, replica, requests, running))
        left -= 1
    if blocks_lacking(config, replica, requests, running) > 0:
        retract_prompt(config, replica, requests, running, cache)
    made, allowed, count = 0, 0, 0
    for place in range(replica.num_running):
        request = requests[running[place]]
        if request.decoding:
            made += request.known_tokens - request.prompt_tokens
            allowed += config.options[2] if config.options[2] > 0 else request.max_new_tokens
            count += 1
    if allowed > 0:
        replica.memory[RATIO] = int(min((made + RETRACT_STEPS * count) / allowed, 1.0) * BILLION)


@inner
def least_advanced(config: Record, replica: Record, requests: Any, running: Any) -> int:
    """Returns the place of the decode with the fewest outputs, of several the one with the longest prompt, then the last."""
    worst = NOBODY
    for place in range(replica.num_running):
        one = requests[running[place]]
        if not decodes(config, replica, one):
            continue
        if worst != NOBODY:
            other = requests[running[worst]]
            made, least = one.known_tokens - one.prompt_tokens, other.known_tokens - other.prompt_tokens
            if made > least or (made == least and one.prompt_tokens < other.prompt_tokens):
                continue
        worst = place
    return int(worst)


@inner
def retract_prompt(config: Record, replica: Record, requests: Any, running: Any, cache: Any) -> None:
    """Retracts the part-done prompt, where there is one."""
    for place in range(replica.num_running):
        request = requests[running[place]]
        if not request.decoding and not flying(replica, request):
            retract(config, replica, requests, running, cache, place)
            return


@inner
def retract(config: Record, replica: Record, requests: Any, running: Any, cache: Any, place: int) -> None:
    """Sends running[place] back to the end of the queue, or to its place by priority."""
    i = running[place]
    preempt(config, replica, requests, running, cache, place)
    if not config.by_priority:
        unlink(replica, requests, i)
        enqueue(config, replica, requests, i, False)
