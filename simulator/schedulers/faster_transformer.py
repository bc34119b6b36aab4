"""FasterTransformer: a batch is formed once and decodes to its last request's end before the next one is formed.

Every request takes a slot of max_model_len tokens. All prompts of a batch are computed in its first step. Under pipeline
parallelism there are as many batches as stages, and they share the slots. Rules as Vidur restates them; the blocks of a
request return when it ends, which lets nobody in earlier than Vidur's, held to the end of the batch.
"""

from __future__ import annotations

from typing import Any

from simulator.kernel.blocks import admit_in_order, blocks_for, grow
from simulator.kernel.jit import inner, kernel
from simulator.kernel.records import NOBODY, SCHEDULE, Record
from simulator.schedulers._steps import reserved_seats, settled

WATERMARK = 0.0
WHOLE_PROMPT = True
CHUNKS = False
RESERVES = True
CACHES = False
OWN_MICRO_BATCH = True
COUNTABLE = False


@kernel(SCHEDULE)
def schedule(config: Record, replica: Record, requests: Any, running: Any, cache: Any) -> None:
    """Decides one step."""
    batch = idle_batch(config, replica, requests, running)
    if batch == NOBODY:
        form_batch(config, replica, requests, running, cache)
        return
    for place in range(replica.num_running):
        request = requests[running[place]]
        if request.tag == batch and not request.exhausted:
            request.scheduled_tokens = 1


@inner
def idle_batch(config: Record, replica: Record, requests: Any, running: Any) -> int:
    """Returns the number of the oldest batch of which nothing is in flight, or NOBODY."""
    oldest = NOBODY
    for place in range(replica.num_running):
        request = requests[running[place]]
        if settled(config, replica, request) and (oldest == NOBODY or request.tag < oldest):
            oldest = request.tag
    return int(oldest)


@inner
def form_batch(config: Record, replica: Record, requests: Any, running: Any, cache: Any) -> None:
    """Admits a new batch from the head of the queue, whole prompts all at once."""
    slot = blocks_for(config.max_model_len, config.block_size)
    seats = reserved_seats(config, replica, slot)
    replica.memory[0] += 1
    for _ in range(seats):
        i = replica.waiting_head
        if i == NOBODY or replica.free_blocks < slot or replica.num_running >= config.max_num_seqs:
            return
        request = requests[i]
        admit_in_order(replica, requests, running, i)
        grow(config, replica, request, cache, config.max_model_len)
        request.tag = replica.memory[0]
        request.scheduled_tokens = request.known_tokens
