"""KV accounting in paged blocks, and the moves between running and waiting that hold or return them."""

from __future__ import annotations

from typing import Any

from simulator.kernel.jit import inner
from simulator.kernel.records import RUNNING, Record
from simulator.kernel.waiting import enqueue, unlink


@inner
def blocks_for(tokens: int, block_size: int) -> int:
    """Returns the blocks that so many tokens fill, the last one perhaps in part."""
    return (tokens + block_size - 1) // block_size


@inner
def grow(config: Record, replica: Record, request: Record, tokens: int) -> bool:
    """Gives the request the blocks for `tokens` tokens in all; returns False, giving none, when too few are free."""
    # Most decodes stay inside their last block; asking so first saves the division, the dearest step of an iteration.
    if tokens <= request.blocks * config.block_size:
        return True
    need = blocks_for(tokens, config.block_size) - request.blocks
    if need > replica.free_blocks:
        return False
    replica.free_blocks -= need
    request.blocks += need
    return True


@inner
def release(replica: Record, request: Record) -> None:
    """Returns all blocks of the request to the pool."""
    replica.free_blocks += request.blocks
    request.blocks = 0


@inner
def admit(replica: Record, requests: Any, running: Any, i: int) -> None:
    """Moves a waiting request to the end of the running list."""
    unlink(replica, requests, i)
    requests[i].status = RUNNING
    requests[i].decoding = 0
    running[replica.num_running] = i
    replica.num_running += 1


@inner
def preempt(config: Record, replica: Record, requests: Any, running: Any, place: int) -> int:
    """Sends running[place] back to wait, to be computed anew; returns the tokens it had been given in this step."""
    i = running[place]
    request = requests[i]
    given = request.scheduled_tokens
    release(replica, request)
    request.scheduled_tokens = 0
    request.computed_tokens = 0
    request.decoding = 0
    request.preemptions += 1
    replica.preempted_now += 1
    replica.num_running -= 1
    for k in range(place, replica.num_running):
        running[k] = running[k + 1]
    enqueue(config, replica, requests, i, True)
    return int(given)
