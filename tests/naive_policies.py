"""The oracle's policies by name, and that of vLLM's V1 engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests import naive_sglang, naive_vidur
from tests.naive_nouns import Batch, Request

if TYPE_CHECKING:
    from tests.naive_engine import Engine


def vllm_v1(engine: Engine) -> Batch:
    """vLLM 0.19.0: running requests in their order, then, if nobody was preempted, those that wait, with what is cached."""
    batch = continue_running(engine)
    if engine.preempted_now:
        return batch
    while engine.waiting and len(engine.running) < engine.knobs.max_num_seqs:
        request = engine.waiting[0]
        found = engine.found(request)
        hit = len(found) * engine.knobs.block_size
        tokens = capped(engine, engine.owed(request) - hit, batch)
        must_fit = engine.known(request) if engine.knobs.reserve_full_isl else hit + tokens
        if not engine.owed(request) or tokens == 0 or not engine.fits(request, must_fit, found):
            break
        engine.admit(request, found)
        engine.grow(request, hit + tokens)
        batch[request] = tokens
    return batch


def continue_running(engine: Engine) -> Batch:
    """Returns the running requests' tokens, preempting where blocks lack; ends where the needy one itself had to go."""
    batch: Batch = {}
    place = 0
    while place < len(engine.running):
        request = engine.running[place]
        tokens = capped(engine, engine.owed(request), batch)
        while tokens and not engine.fits(request, request.computed + tokens):
            victim = victim_of(engine)
            engine.preempt(victim)
            if victim is request:
                return batch
            if victim in batch:
                del batch[victim]
                place -= 1
        if tokens:
            engine.grow(request, request.computed + tokens)
            batch[request] = tokens
        place += 1
    return batch


def capped(engine: Engine, owed: int, batch: Batch) -> int:
    """Returns the tokens owed, within the threshold and what is left of the budget."""
    tokens = min(owed, engine.knobs.max_num_batched_tokens - sum(batch.values()))
    return min(tokens, engine.knobs.long_prefill_token_threshold or tokens)


def victim_of(engine: Engine) -> Request:
    """Returns who is preempted: the last one, or under the priority policy the least urgent and latest."""
    if engine.knobs.by_priority:
        return max(engine.running, key=lambda r: (r.priority, r.arrived_at))
    return engine.running[-1]


POLICIES: dict[str, Callable[[Engine], Batch]] = {
    "vllm_v1": vllm_v1,
    "sglang": naive_sglang.sglang,
    "vllm_v0": naive_vidur.vllm_v0,
    "orca": naive_vidur.orca,
    "faster_transformer": naive_vidur.faster_transformer,
    "lightllm": naive_vidur.lightllm,
    "sarathi": naive_vidur.sarathi,
    "sarathi_serve": naive_vidur.sarathi_serve,
}
# Policies that compute a prompt in several steps; that take whole prompts without a token budget; that keep requests
# in micro-batches, and form one as soon as somebody arrives when there is room for one.
CHUNKS = {"vllm_v1", "sglang", "sarathi", "sarathi_serve"}
WITHOUT_BUDGET = {"orca", "faster_transformer"}
FORMS_AT_ARRIVAL = set(POLICIES) - {"vllm_v1"}
