"""The prefix cache, as vLLM 0.19.0 has it: full blocks stay findable in the free list until they are taken anew.

The free list is a queue: blocks are taken from its front, and join its end when their last holder lets go, the tail of a
sequence first. What a request finds is the longest run of blocks from its start, never all of its known tokens.

Where the traffic does not say what is in its blocks, a request can only find those that it left itself when it was
preempted. Then no block needs an identity: blocks are numbered in the order in which they join the queue, `freed_blocks -
free_blocks` of them have been taken, and those that were left at `left_at` survive from their end.
"""

from __future__ import annotations

from typing import Any

from simulator.kernel.jit import inner
from simulator.kernel.records import BY_CONTENT, NO_CACHE, NOBODY, Record


@inner
def found(config: Record, replica: Record, request: Record, cache: Any) -> int:
    """Returns the blocks that a waiting request would find."""
    if config.prefix_caching == NO_CACHE or (config.prefix_caching != BY_CONTENT and request.preemptions == 0):
        return 0
    landed = request.known_tokens - request.in_flight if config.blind else request.known_tokens
    most = (landed - 1) // config.block_size
    if config.prefix_caching == BY_CONTENT:
        return found_by_content(replica, request, cache, min(most, request.content_blocks))
    survive = min(request.left_blocks, request.left_at + request.left_blocks - (replica.freed_blocks - replica.free_blocks))
    return int(max(min(survive, most, request.cached_tokens // config.block_size), 0))


@inner
def found_by_content(replica: Record, request: Record, cache: Any, most: int) -> int:
    """Returns the length of the run of blocks from the start that some block holds."""
    blocks = 0
    while blocks < most and cache.first[replica.number, cache.contents[request.content_at + blocks]] != NOBODY:
        blocks += 1
    return blocks


@inner
def held_by_others(config: Record, replica: Record, request: Record, cache: Any, blocks: int) -> int:
    """Returns how many of the found blocks are not in the free list."""
    if config.prefix_caching != BY_CONTENT:
        return 0
    held = 0
    for k in range(blocks):
        if cache.blocks[replica.number, cache.first[replica.number, cache.contents[request.content_at + k]]].holders > 0:
            held += 1
    return held


@inner
def claim(config: Record, replica: Record, requests: Any, i: int, cache: Any, blocks: int) -> None:
    """Gives request `i` the blocks that it found, with the tokens in them as computed."""
    request = requests[i]
    if request.hit_tokens < 0:
        request.hit_tokens = blocks * config.block_size
    if config.prefix_caching != BY_CONTENT:
        request.cached_tokens = blocks * config.block_size
    if blocks == 0:
        return
    if config.prefix_caching == BY_CONTENT:
        for k in range(blocks):
            block = cache.first[replica.number, cache.contents[request.content_at + k]]
            hold(replica, cache, block)
            cache.table[replica.number, request.seat, k] = block
    else:
        replica.free_blocks -= blocks
        come_closer(config, replica, requests, request.left_at, blocks)
    request.blocks = blocks
    request.cached_tokens = blocks * config.block_size
    request.computed_tokens = blocks * config.block_size


@inner
def come_closer(config: Record, replica: Record, requests: Any, left_at: int, blocks: int) -> None:
    """Renumbers what other preempted requests left in front of blocks that were taken out of the middle of the queue."""
    place = replica.waiting_head
    while place != NOBODY and (config.by_priority or requests[place].preemptions > 0):
        if requests[place].left_at < left_at:
            requests[place].left_at += blocks
        place = requests[place].next


@inner
def enter(config: Record, replica: Record, request: Record, cache: Any, tokens: int) -> None:
    """Enters the full blocks of the first `tokens` tokens in the cache."""
    if tokens <= request.cached_tokens:
        return
    if config.prefix_caching == BY_CONTENT:
        last = min(tokens // config.block_size, request.content_blocks)
        for k in range(request.cached_tokens // config.block_size, last):
            block = cache.table[replica.number, request.seat, k]
            content = cache.contents[request.content_at + k]
            cache.blocks[replica.number, block].content = content
            cache.blocks[replica.number, block].twin = NOBODY
            append_twin(replica, cache, content, block)
    request.cached_tokens = tokens


@inner
def append_twin(replica: Record, cache: Any, content: int, block: int) -> None:
    """Puts a block behind those that hold the same content: the one that was entered first is found."""
    place = cache.first[replica.number, content]
    if place == NOBODY:
        cache.first[replica.number, content] = block
        return
    while cache.blocks[replica.number, place].twin != NOBODY:
        place = cache.blocks[replica.number, place].twin
    cache.blocks[replica.number, place].twin = block


@inner
def forget(replica: Record, cache: Any, block: int) -> None:
    """Drops the content of a block that is taken anew."""
    content = cache.blocks[replica.number, block].content
    if content == NOBODY:
        return
    follower = cache.blocks[replica.number, block].twin
    place = cache.first[replica.number, content]
    if place == block:
        cache.first[replica.number, content] = follower
    else:
        while cache.blocks[replica.number, place].twin != block:
            place = cache.blocks[replica.number, place].twin
        cache.blocks[replica.number, place].twin = follower
    cache.blocks[replica.number, block].content = NOBODY
    cache.blocks[replica.number, block].twin = NOBODY


@inner
def take(replica: Record, request: Record, cache: Any, count: int) -> None:
    """Gives the request `count` blocks from the front of the free list."""
    for k in range(count):
        block = replica.free_head
        forget(replica, cache, block)
        unlink_block(replica, cache, block)
        cache.blocks[replica.number, block].holders = 1
        cache.table[replica.number, request.seat, request.blocks + k] = block


@inner
def hold(replica: Record, cache: Any, block: int) -> None:
    """Adds a holder to a block, which leaves the free list when it is the first one."""
    if cache.blocks[replica.number, block].holders == 0:
        unlink_block(replica, cache, block)
        replica.free_blocks -= 1
    cache.blocks[replica.number, block].holders += 1


@inner
def leave(replica: Record, request: Record, cache: Any) -> None:
    """Lets all blocks of a request go, the last one first; those without another holder join the end of the free list."""
    for k in range(request.blocks - 1, -1, -1):
        block = cache.table[replica.number, request.seat, k]
        cache.blocks[replica.number, block].holders -= 1
        if cache.blocks[replica.number, block].holders == 0:
            append_block(replica, cache, block)
            replica.free_blocks += 1
            replica.freed_blocks += 1
    request.cached_tokens = 0


@inner
def unlink_block(replica: Record, cache: Any, block: int) -> None:
    """Takes a block out of the free list."""
    before, after = cache.blocks[replica.number, block].previous, cache.blocks[replica.number, block].next
    if before == NOBODY:
        replica.free_head = after
    else:
        cache.blocks[replica.number, before].next = after
    if after == NOBODY:
        replica.free_tail = before
    else:
        cache.blocks[replica.number, after].previous = before


@inner
def append_block(replica: Record, cache: Any, block: int) -> None:
    """Puts a block at the end of the free list."""
    last = replica.free_tail
    cache.blocks[replica.number, block].previous = last
    cache.blocks[replica.number, block].next = NOBODY
    if last == NOBODY:
        replica.free_head = block
    else:
        cache.blocks[replica.number, last].next = block
    replica.free_tail = block
