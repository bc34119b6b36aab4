"""The oracle's SGLang (scheduler.py and PrefillAdder in schedule_policy.py of SGLang 0.5, first come first served).

Prompts go before decodes, or beside them when chunks are mixed. Who waits is admitted when the KV has room for it and for
what all running requests are expected to make: a share of what they still may. The share falls with every step of decodes,
and is set anew when KV runs out and those that made least are retracted. Once somebody found no room the batch is full,
until somebody has left it. Shares are kept in billionths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.naive_nouns import Batch, Request

if TYPE_CHECKING:
    from tests.naive_engine import Engine

CLIP = 4096
BILLION = 1_000_000_000


def sglang(engine: Engine) -> Batch:
    """Returns SGLang's decision."""
    notes, mixed = engine.notes, bool(engine.knobs.options.get("enable_mixed_chunk"))
    if not engine.running:
        notes["share"] = shares(engine)[0]
    if mixed or not engine.running:
        see_who_left(engine)
    batch = prompts(engine, len(decoding(engine)) if mixed else 0)
    had_prompts = bool(batch)
    if not had_prompts:
        make_room(engine)
        see_who_left(engine)
    if not had_prompts or mixed:
        for request in decoding(engine):
            if len(batch) < engine.knobs.micro_batch_seqs and engine.fits(request, request.computed + 1):
                engine.grow(request, request.computed + 1)
                batch[request] = 1
    notes["ran"] = len(engine.running)
    return batch


def see_who_left(engine: Engine) -> None:
    """Opens the batch again when somebody has left it."""
    if len(engine.running) < engine.notes["ran"] or not engine.running:
        engine.notes["full"] = 0


def shares(engine: Engine) -> tuple[int, int]:
    """Returns the expected share of what may be made, at first and at last."""
    first = round(min(0.7 * engine.knobs.options.get("schedule_conservativeness", 1.0), 1.0) * BILLION)
    return first, round(first * 0.14)


def decoding(engine: Engine) -> list[Request]:
    """Returns the running requests that can take part in a step of decodes."""
    return [r for r in engine.running if r.decoding and engine.owed(r) and engine.settled(r)]


def allowed(engine: Engine, request: Request) -> int:
    """Returns the output tokens that its client allows."""
    return int(engine.knobs.options.get("max_new_tokens") or request.max_new_tokens)


def made(engine: Engine, request: Request) -> int:
    """Returns the output tokens that it has made."""
    return engine.known(request) - request.prompt


def still_makes(engine: Engine, request: Request) -> int:
    """Returns the output tokens that it may make yet, clipped."""
    return min(max(allowed(engine, request) - made(engine, request), 0), CLIP)


class Room:
    """What is left for prompts in a step: KV tokens, tokens of chunks, tokens of input."""

    def __init__(self, engine: Engine, beside: int) -> None:
        self.size = engine.knobs.block_size
        expected = sum(still_makes(engine, r) for r in engine.running if r.decoding) * (engine.notes["share"] / BILLION)
        self.kv = engine.free_blocks * self.size - expected - beside
        self.chunk = engine.knobs.max_num_batched_tokens - beside
        self.input = engine.knobs.options.get("max_prefill_tokens", 16384) - beside

    def spend(self, tokens: int, locked: int, to_come: int) -> None:
        """Takes a whole prompt's tokens in full blocks, the blocks it found, and what it may make."""
        paged = -(-tokens // self.size) * self.size
        self.kv -= paged + locked * self.size + to_come
        self.chunk -= paged
        self.input -= paged


def prompts(engine: Engine, beside: int) -> Batch:
    """Returns the chunk of the part-done prompt and, when that ends it, the prompts admitted behind it."""
    batch: Batch = {}
    room = Room(engine, beside)
    for request in [r for r in engine.running if not r.decoding]:
        if not engine.settled(request):
            return {}
        if not (owed := engine.owed(request)):
            continue
        tokens = min(owed, room.chunk, int(room.kv) if room.kv >= 1 else owed)
        if tokens <= 0 or not engine.fits(request, request.computed + tokens):
            return {}
        engine.grow(request, request.computed + tokens)
        batch[request] = tokens
        if tokens < owed:
            return batch
        room.spend(tokens, 0, min(allowed(engine, request), CLIP))
    while engine.waiting and room.chunk > 0 and not engine.notes["full"]:
        request = engine.waiting[0]
        tokens = admitted(engine, request, room, batch)
        if not tokens:
            break
        batch[request] = tokens
        if engine.owed(request) > tokens:
            break
    return batch


def admitted(engine: Engine, request: Request, room: Room, batch: Batch) -> int:
    """Admits a request when there is room for it, and returns the tokens of its chunk; else 0."""
    size, found = engine.knobs.block_size, engine.found(request)
    locked = engine.pool.unheld(found)
    owed = engine.owed(request) - len(found) * size
    if owed <= 0:
        return 0
    fits = not engine.running or owed + still_makes(engine, request) < room.kv - locked * size
    if not fits or len(engine.running) >= engine.knobs.max_num_seqs:
        engine.notes["full"] = 1
        return 0
    paged = engine.blocks_for(owed) * size
    if len(batch) == engine.knobs.micro_batch_seqs or (batch and paged >= room.input):
        return 0
    tokens = owed if paged <= room.chunk else room.chunk // size * size
    if tokens <= 0 or engine.blocks_for(tokens) + locked > engine.free_blocks:
        return 0
    engine.admit(request, found)
    engine.grow(request, request.computed + tokens)
    if tokens == owed:
        room.spend(tokens, locked, min(allowed(engine, request), CLIP))
        if room.kv <= 0:
            engine.notes["full"] = 1
    return tokens


def make_room(engine: Engine) -> None:
    """Lets the share fall when all decodes have their next block; else retracts decodes and sets the share anew."""
    first, last = shares(engine)
    if lacking(engine) <= 0:
        engine.notes["share"] = max(engine.notes["share"] - (first - last) // 600, last)
        return
    for _ in range(len(decoding(engine)) - 1):
        if lacking(engine) > 0:
            # The last one of those that made least, and of these, of those with the longest prompt.
            retract(engine, min(reversed(decoding(engine)), key=lambda r: (made(engine, r), -r.prompt)))
    part_done = [r for r in engine.running if not r.decoding and r.flying == 0]
    if lacking(engine) > 0 and part_done:
        retract(engine, part_done[0])
    decodes = [r for r in engine.running if r.decoding]
    if limit := sum(allowed(engine, r) for r in decodes):
        total = sum(made(engine, r) + 20 for r in decodes)
        engine.notes["share"] = min(total * BILLION // limit, BILLION)


def lacking(engine: Engine) -> int:
    """Returns how many blocks more than the free ones a step of all decodes needs."""
    return sum(r.computed + 1 > len(r.blocks) * engine.knobs.block_size for r in decoding(engine)) - engine.free_blocks


def retract(engine: Engine, request: Request) -> None:
    """Sends a request back to the end of the queue, or to its place by priority."""
    engine.preempt(request)
    if not engine.knobs.by_priority:
        engine.waiting.remove(request)
        engine.enqueue(request)
