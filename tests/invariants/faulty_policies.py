"""Schedulers that break one law each, on the kernel's own loop, interpreted: which of them the checkers see.

`NUMBA_DISABLE_JIT=1 python -m tests.invariants.faulty_policies` prints one JSON document: the broken law by policy.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from simulator.errors import Infeasible
from simulator.kernel.blocks import admit, grow
from simulator.kernel.records import NOBODY
from simulator.schedulers import vllm_v1
from tests.invariants import agreement, laws
from tests.invariants.cases import PLAIN, Case, play
from tests.invariants.scenarios import first_of, scenarios, small

Policy = Callable[[Any, Any, Any, Any, Any], None]


def honest(config: Any, replica: Any, requests: Any, running: Any, cache: Any) -> None:
    vllm_v1.schedule(config, replica, requests, running, cache)


def leaks(config: Any, replica: Any, requests: Any, running: Any, cache: Any) -> None:
    """Takes a block for nobody in the first step."""
    if replica.iterations == 0:
        replica.free_blocks -= 1
    honest(config, replica, requests, running, cache)


def overtakes(config: Any, replica: Any, requests: Any, running: Any, cache: Any) -> None:
    """Admits the last that waits, whole, after those that run."""
    budget = vllm_v1.continue_running(config, replica, requests, running, cache)
    while replica.waiting_tail != NOBODY and replica.num_running < config.max_num_seqs:
        i = replica.waiting_tail
        request = requests[i]
        tokens = min(request.known_tokens, budget)
        if tokens == 0 or request.exhausted or request.known_tokens > replica.free_blocks * config.block_size:
            return
        admit(replica, requests, running, i)
        grow(config, replica, request, cache, request.known_tokens)
        request.scheduled_tokens = tokens
        budget -= tokens


def waits_for_two(config: Any, replica: Any, requests: Any, running: Any, cache: Any) -> None:
    """Starts nothing for one request alone, but for the last of them."""
    if replica.num_running > 0 or replica.num_waiting > 1 or replica.waiting_head == len(requests) - 1:
        honest(config, replica, requests, running, cache)


def starves(config: Any, replica: Any, requests: Any, running: Any, cache: Any) -> None:
    """Never admits anybody."""
    vllm_v1.continue_running(config, replica, requests, running, cache)


def shortest_first(case: Case) -> Policy:
    """Returns a policy that was told the output lengths, and puts who ends first at the head of the queue."""
    outputs = case.traffic.output_tokens

    def peeks(config: Any, replica: Any, requests: Any, running: Any, cache: Any) -> None:
        places, i = [], replica.waiting_head
        while i != NOBODY:
            places.append(int(i))
            i = requests[i].next
        places.sort(key=lambda place: int(outputs[place]))
        for before, place, after in zip([NOBODY, *places], places, [*places[1:], NOBODY], strict=False):
            requests[place].previous, requests[place].next = before, after
        if places:
            replica.waiting_head, replica.waiting_tail = places[0], places[-1]
        honest(config, replica, requests, running, cache)

    return peeks


def broken_law(case: Case, policy: Policy) -> str:
    """Returns the law that a run under the policy breaks, or an empty text."""
    try:
        outcome, run = play(case, PLAIN, policy)
        laws.all_of_one_run(outcome, case.knobs(), run.replicas["free_blocks"])
    except (laws.Broken, Infeasible) as error:
        return str(error)
    return ""


def seen_peeking(case: Case, policy_of: Callable[[Case], Policy]) -> str:
    """Returns the law that a policy breaks when the longest output becomes short, or an empty text."""
    output = case.traffic.output_tokens.copy()
    changed = int(output.argmax())
    output[changed] = 2
    other = replace(case, traffic=replace(case.traffic, output_tokens=output))
    try:
        one, two = (play(each, PLAIN, policy_of(each))[0] for each in (case, other))
        agreement.future_is_unknown(one, two, changed, case.asynchronous)
    except laws.Broken as error:
        return str(error)
    return ""


def document() -> dict[str, str]:
    """Returns the broken law by policy."""
    tight, crowded = small("vllm_v1")["tight pool"], scenarios("vllm_v1")["all at once, seats bind"]
    few = replace(first_of(crowded, 16), max_num_seqs=2)
    found = {policy.__name__: broken_law(tight, policy) for policy in (honest, leaks, overtakes, waits_for_two, starves)}
    return {
        **found,
        "honest, asked for the future": seen_peeking(few, lambda case: honest),
        "shortest_first": seen_peeking(few, shortest_first),
    }


if __name__ == "__main__":
    print(json.dumps(document()))
