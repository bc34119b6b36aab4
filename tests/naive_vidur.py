"""The oracle's policies that keep micro-batches apart: the five that Vidur restates, and SARATHI's first.

They leave alone who takes part in a step under way, keep the running list in order of arrival, hold a step to
`micro_batch_seqs` requests, and preempt the last running request that is not under way.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tests.naive_nouns import Batch, Request

if TYPE_CHECKING:
    from tests.naive_engine import Engine


def decodes(engine: Engine) -> Batch:
    """Returns a token for each request that decodes, as many as a step holds, preempting where blocks lack."""
    batch: Batch = {}
    for request in list(engine.running):
        if len(batch) == engine.knobs.micro_batch_seqs:
            break
        if request in engine.preempted_now or not request.decoding or not engine.owed(request) or not engine.settled(request):
            continue
        while request not in engine.preempted_now and not next_token_fits(engine, request):
            victim = [r for r in engine.running if engine.settled(r)][-1]
            batch.pop(victim, None)
            engine.preempt(victim)
        if request not in engine.preempted_now:
            engine.grow(request, request.computed + 1)
            batch[request] = 1
    return batch


def next_token_fits(engine: Engine, request: Request) -> bool:
    """Returns whether its next token has a place; some engines want a free block even when the last one has room."""
    spare = engine.free_blocks > 0 or not engine.knobs.options.get("spare_block")
    return spare and engine.fits(request, request.computed + 1)


def part_done(engine: Engine) -> list[Request]:
    """Returns the running requests whose prompts are part-done and may go on."""
    return [r for r in engine.running if not r.decoding and engine.owed(r) and engine.settled(r)]


def head(engine: Engine) -> Request | None:
    """Returns who is next in line, when there is a seat and something to schedule."""
    if not engine.waiting or len(engine.running) == engine.knobs.max_num_seqs or not engine.owed(engine.waiting[0]):
        return None
    return engine.waiting[0]


def admit_whole(engine: Engine, request: Request, tokens: int) -> None:
    """Admits a request with the blocks for so many tokens."""
    engine.admit(request, in_order=True)
    engine.grow(request, tokens)


def watermark_holds(engine: Engine, request: Request) -> bool:
    """Returns whether the pool's reserve stays free beside all known tokens of a request."""
    return engine.blocks_for(engine.known(request)) <= engine.free_blocks - engine.knobs.watermark_blocks


def vllm_v0(engine: Engine) -> Batch:
    """vLLM's first scheduler: whole prompts, alone, padded to the longest; else decodes."""
    batch: Batch = {}
    while len(batch) < engine.knobs.micro_batch_seqs and (request := head(engine)):
        longest = max([engine.known(request), *batch.values()])
        if longest * (len(batch) + 1) > engine.knobs.max_num_batched_tokens or not watermark_holds(engine, request):
            break
        admit_whole(engine, request, engine.known(request))
        batch[request] = engine.known(request)
    return batch or decodes(engine)


def orca(engine: Engine) -> Batch:
    """Orca: decodes and whole prompts together, each in a slot that holds max_model_len tokens; no token budget."""
    batch = decodes(engine)
    while len(batch) < slots(engine) and (request := head(engine)):
        if not engine.fits(request, engine.knobs.max_model_len):
            break
        admit_whole(engine, request, engine.knobs.max_model_len)
        batch[request] = engine.known(request)
    return batch


def slots(engine: Engine) -> int:
    """Returns how many requests a step may hold when each has a slot."""
    in_pool = engine.knobs.kv_blocks // engine.blocks_for(engine.knobs.max_model_len)
    return min(engine.knobs.micro_batch_seqs, max(in_pool // engine.knobs.pipeline_stages, 1))


def faster_transformer(engine: Engine) -> Batch:
    """FasterTransformer: a batch stays together until its last request ends; a new one forms when none is there to go on."""
    idle = [request for request in engine.running if engine.settled(request)]
    if idle:
        first = min(request.tag for request in idle)
        return {request: 1 for request in idle if request.tag == first and engine.owed(request)}
    batch: Batch = {}
    engine.notes["batches"] += 1
    while len(batch) < slots(engine) and (request := head(engine)) and engine.fits(request, engine.knobs.max_model_len):
        admit_whole(engine, request, engine.knobs.max_model_len)
        request.tag = engine.notes["batches"]
        batch[request] = engine.known(request)
    return batch


def lightllm(engine: Engine) -> Batch:
    """LightLLM: whole prompts when nobody decodes or after some steps of decoding, where the KV fits at its peak."""
    if not any(r.decoding and engine.owed(r) and engine.settled(r) for r in engine.running):
        batch = admit_by_peak(engine)
        engine.notes["steps"] = 0 if batch else engine.notes["steps"]
        return batch
    if engine.notes["steps"] >= engine.knobs.options.get("max_waiting_iters", 10):
        engine.notes["steps"] = 0
        if batch := admit_by_peak(engine):
            return batch
    engine.notes["steps"] += 1
    return decodes(engine)


def admit_by_peak(engine: Engine) -> Batch:
    """Admits whole prompts while budget and peak allow."""
    batch: Batch = {}
    size = engine.knobs.block_size
    while len(batch) < engine.knobs.micro_batch_seqs and (request := head(engine)):
        # A request may leave all but one token of its last block unused.
        room = engine.knobs.kv_blocks * size - (len(engine.running) + 1) * (size - 1)
        tokens = engine.known(request)
        if sum(batch.values()) + tokens > engine.knobs.max_num_batched_tokens or not engine.fits(request, tokens):
            break
        if peak(engine, [*engine.running, request]) >= room:
            break
        admit_whole(engine, request, tokens)
        batch[request] = tokens
    return batch


def peak(engine: Engine, requests: list[Request]) -> int:
    """Returns the most KV tokens held at once if all go on to what they may make, and each is gone when it has made that."""
    most = 0
    for _, rest in (spans := [held_and_to_come(engine, request) for request in requests]):
        most = max(most, sum(held + rest for held, more in spans if more >= rest))
    return most


def held_and_to_come(engine: Engine, request: Request) -> tuple[int, int]:
    """Returns the tokens a request holds after its next step, and how many more it may make after that."""
    limit = engine.knobs.options.get("max_new_tokens") or request.max_new_tokens
    made = engine.known(request) - request.prompt
    if request.decoding:
        return engine.known(request), max(limit - made - 1, 0)
    return engine.known(request) + 1, max(limit - made - 2, 0)


def sarathi(engine: Engine) -> Batch:
    """SARATHI: all decodes and one chunk of the oldest part-done prompt, or of the next in line."""
    knobs = engine.knobs
    batch = decodes(engine)
    if len(batch) == knobs.micro_batch_seqs or len(batch) >= knobs.max_num_batched_tokens:
        return batch
    chosen = next(iter(part_done(engine)), None)
    if not chosen and (request := head(engine)):
        slot = knobs.max_model_len if knobs.options.get("reserve_max_model_len", True) else engine.known(request)
        if engine.fits(request, slot):
            admit_whole(engine, chosen := request, slot)
    if chosen:
        batch[chosen] = aligned_chunk(engine, chosen, len(batch))
    return batch


def aligned_chunk(engine: Engine, request: Request, beside: int) -> int:
    """Returns the chunk's tokens: with the decodes beside it, they fill whole tiles unless they end the prompt."""
    options = engine.knobs.options
    size = engine.knobs.max_num_batched_tokens - beside
    size = min(size, options.get("chunk_size", 0) or size)
    tile = options.get("tile_size", 128)
    whole_tiles = math.floor((size + beside) / tile) * tile - beside if tile else size
    if engine.owed(request) <= size:
        return engine.owed(request)
    return whole_tiles if whole_tiles > 0 else size


def sarathi_serve(engine: Engine) -> Batch:
    """Sarathi-Serve: decodes, then part-done prompts, then those that wait, within a token budget; or the ablations."""
    if engine.knobs.options.get("batching") == "chunked_only":
        return by_turns(engine)
    batch = decodes(engine)
    add_part_done(engine, batch)
    admit_chunks(engine, batch)
    return batch


def by_turns(engine: Engine) -> Batch:
    """Steps of chunks (part-done prompts, or else new ones) and steps of decodes in turn, while there are both."""
    had_chunks, engine.notes["chunks"] = engine.notes["chunks"], 0
    if had_chunks and (batch := decodes(engine)):
        return batch
    batch = {}
    add_part_done(engine, batch)
    if not batch:
        admit_chunks(engine, batch)
    engine.notes["chunks"] = int(bool(batch))
    return batch or ({} if had_chunks else decodes(engine))


def add_part_done(engine: Engine, batch: Batch) -> None:
    """Gives part-done prompts what the budget leaves."""
    for request in part_done(engine):
        tokens = chunk(engine, request, sum(batch.values()))
        if tokens > 0 and len(batch) < engine.knobs.micro_batch_seqs:
            batch[request] = tokens


def admit_chunks(engine: Engine, batch: Batch) -> None:
    """Admits those that wait with all blocks of their prompts and a first chunk."""
    while len(batch) < engine.knobs.micro_batch_seqs and (request := head(engine)):
        tokens = chunk(engine, request, sum(batch.values()))
        if tokens <= 0 or not watermark_holds(engine, request):
            break
        admit_whole(engine, request, engine.known(request))
        batch[request] = tokens


def chunk(engine: Engine, request: Request, used: int) -> int:
    """Returns a prompt's tokens in a step that has used so many."""
    budget = engine.knobs.max_num_batched_tokens
    options = engine.knobs.options
    if options.get("chunk_schedule_stages"):
        stages = options["chunk_schedule_stages"]
        stage = request.computed // math.ceil(options["chunk_schedule_max_tokens"] / stages)
        low, high = options["low_chunk_size"], options["high_chunk_size"]
        sizes = [low + math.floor((high - low) * k / max(stages - 1, 1)) for k in range(stages)]
        budget = round(sizes[max(stages - 1 - stage, 0)] / 32) * 32
    if options.get("batching") == "hybrid_only" and engine.owed(request) > budget - used:
        return 0
    return min(engine.owed(request), budget - used)
