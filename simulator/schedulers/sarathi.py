"""SARATHI's decode-maximal batching (arXiv 2308.16369): every step holds all decodes and one chunk of one prompt.

The chunk belongs to the oldest part-done prompt; without one, the head of the queue is admitted. A request takes a slot of
max_model_len tokens, as SARATHI has no paged KV (`reserve_max_model_len: false` takes a prompt's blocks and grows).

`chunk_size` is the chunk's length, 0: what the token budget leaves beside the decodes. `tile_size` cuts the chunk so that
chunk and decodes fill whole tiles of a matrix multiplication, which take as long as a part of one: 257 tokens took a
third longer than 256 in the paper. By default 128, the tile that the paper measured; 0 leaves chunks as they are. A
prompt's last chunk, and one that does not fill a tile with the decodes, stay as they are.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from simulator.errors import InputError
from simulator.kernel.blocks import admit_in_order, blocks_for, grow
from simulator.kernel.jit import inner, kernel
from simulator.kernel.records import NOBODY, SCHEDULE, Record
from simulator.schedulers._steps import continue_decodes, settled
from simulator.spec.base import Spec
from simulator.spec.deployment import Resolved

WATERMARK = 0.0
WHOLE_PROMPT = True
CHUNKS = True
RESERVES = True
CACHES = False
OWN_MICRO_BATCH = True
COUNTABLE = False


class Options(Spec):
    """The chunk's length and alignment in tokens, and whether a request's slot is as long as any may become."""

    chunk_size: int = Field(default=0, ge=0)
    tile_size: int = Field(default=128, ge=0)
    reserve_max_model_len: bool = True


def encode(options: Options) -> tuple[int, ...]:
    """Returns the options in the order in which the policy reads them."""
    return options.chunk_size, options.tile_size, int(options.reserve_max_model_len)


def check(options: Options, deployment: Resolved, field: str) -> None:
    """Raises InputError under `field` for a chunk or a tile longer than the token budget."""
    for name in ("chunk_size", "tile_size"):
        if getattr(options, name) > deployment.max_num_batched_tokens:
            allowed = f"at most max_num_batched_tokens ({deployment.max_num_batched_tokens})"
            raise InputError(f"{field}.{name}", getattr(options, name), allowed)


@kernel(SCHEDULE)
def schedule(config: Record, replica: Record, requests: Any, running: Any, cache: Any) -> None:
    """Decides one step."""
    decodes = continue_decodes(config, replica, requests, running, cache, 0)
    if decodes >= config.micro_batch_seqs:
        return
    i = part_done(config, replica, requests, running)
    if i == NOBODY:
        i = admit_head(config, replica, requests, running, cache, decodes)
    if i != NOBODY:
        requests[i].scheduled_tokens = chunk(config, requests[i], decodes)


@inner
def part_done(config: Record, replica: Record, requests: Any, running: Any) -> int:
    """Returns the oldest request whose prompt is part-done and not in flight, or NOBODY."""
    for place in range(replica.num_running):
        request = requests[running[place]]
        if not request.decoding and not request.exhausted and settled(config, replica, request):
            return int(running[place])
    return NOBODY


@inner
def admit_head(config: Record, replica: Record, requests: Any, running: Any, cache: Any, decodes: int) -> int:
    """Admits the head of the queue where seat, slot and budget are there; returns it, or NOBODY."""
    i = replica.waiting_head
    if i == NOBODY or replica.num_running >= config.max_num_seqs or decodes >= config.max_num_batched_tokens:
        return NOBODY
    request = requests[i]
    slot = config.max_model_len if config.options[2] else request.known_tokens
    if request.exhausted or blocks_for(slot, config.block_size) > replica.free_blocks:
        return NOBODY
    admit_in_order(replica, requests, running, i)
    grow(config, replica, request, cache, slot)
    return int(i)


@inner
def chunk(config: Record, request: Record, decodes: int) -> int:
    """Returns the tokens of the step's chunk beside so many decodes, 0 when the budget has none left."""
    owed = request.known_tokens - request.computed_tokens
    size = max(config.max_num_batched_tokens - decodes, 0)
    if config.options[0] > 0:
        size = min(size, config.options[0])
    if owed <= size:
        return int(owed)
    tile = config.options[1]
    aligned = (size + decodes) // tile * tile - decodes if tile > 0 else 0
    return int(aligned if aligned > 0 else size)
