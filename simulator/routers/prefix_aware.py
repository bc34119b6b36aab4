"""The engine that was last sent the longest known beginning of the prompt, unless the fleet is out of balance.

The rule and the defaults of `cache_aware` in SGLang's router (sgl-model-gateway, `policies/cache_aware.rs` and
`router_args.py`), on blocks instead of characters: a fleet is out of balance when the most loaded engine has more than
BALANCE_ABS unfinished requests more than the least loaded one and more than BALANCE_REL times as many; then, and when no
more than CACHE_THRESHOLD of the prompt is known, the request goes to the least loaded engine. Two differences: the memory
is not bounded, and holds only the last engine of a block.
"""

from __future__ import annotations

from typing import Any

from simulator.kernel.jit import inner, kernel
from simulator.kernel.records import ROUTE
from simulator.routers import OWN
from simulator.routers._load import least_loaded, outstanding

IGNORES_STATE = False
STATE_PER_SESSION = False
STATE_PER_CONTENT = True
BALANCE_ABS = 64
BALANCE_REL = 1.5
CACHE_THRESHOLD = 0.3


@kernel(ROUTE)
def route(state: Any, replicas: Any, requests: Any, contents: Any, request: int) -> int:
    """Returns the engine that knows most of the prompt, or the least loaded one, and remembers whom it sent the blocks to."""
    prompt = prompt_blocks(requests[request], replicas[0].block_size)
    begin = requests[request].content_at
    chosen = least_loaded(replicas)
    if not out_of_balance(replicas, outstanding(replicas[chosen])):
        known = 0
        # Equal ids have equal blocks before them: whoever was sent the last known block was sent all of those, too.
        while known < prompt and state[OWN + contents[begin + known]] > 0:
            known += 1
        if known * replicas[0].block_size > CACHE_THRESHOLD * requests[request].prompt_tokens:
            chosen = int(state[OWN + contents[begin + known - 1]] - 1)
    for k in range(begin, begin + prompt):
        state[OWN + contents[k]] = chosen + 1
    return chosen


@inner
def prompt_blocks(request: Any, block_size: int) -> int:
    """Returns the number of blocks that lie wholly in the prompt and whose content is known."""
    return int(min(request.content_blocks, request.prompt_tokens // block_size))


@inner
def out_of_balance(replicas: Any, least: int) -> bool:
    """Returns whether the most loaded engine has far more requests than the least loaded one."""
    most = least
    for r in range(len(replicas)):
        most = max(most, outstanding(replicas[r]))
    return bool(most - least > BALANCE_ABS and most > BALANCE_REL * least)
