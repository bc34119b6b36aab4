"""Orca: iteration-level batching of whole prompts beside decodes, in slots that hold a request of any length.

At admission a request takes the blocks of max_model_len tokens, so that nobody is ever preempted. There is no token
budget: a step may hold as many prompts as slots are free. Under pipeline parallelism the slots are shared by the
micro-batches. Rules as Vidur restates them (Yu et al., OSDI 2022).
"""

from __future__ import annotations

from typing import Any

from simulator.kernel.blocks import admit_in_order, blocks_for, grow
from simulator.kernel.jit import kernel
from simulator.kernel.records import NOBODY, SCHEDULE, Record
from simulator.schedulers._steps import continue_decodes, reserved_seats

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
    slot = blocks_for(config.max_model_len, config.block_size)
    seats = reserved_seats(config, replica, slot)
    count = continue_decodes(config, replica, requests, running, cache, 0)
    while replica.waiting_head != NOBODY and replica.num_running < config.max_num_seqs and count < seats:
        i = replica.waiting_head
        request = requests[i]
        if replica.free_blocks < slot or request.exhausted:
            return
        admit_in_order(replica, requests, running, i)
        grow(config, replica, request, cache, config.max_model_len)
        request.scheduled_tokens = request.known_tokens
        count += 1
