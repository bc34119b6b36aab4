"""The records that kernels share, and the signatures of the two kinds of policy.

A policy sees Config, Replica and Request; the true output lengths lie in Outcome, which it is never given.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import from_dtype, types

Record = Any
WAITING, RUNNING, FINISHED, REJECTED, CANCELLED = 0, 1, 2, 3, 4
NOBODY = -1
# What a prefix cache can find: nothing, what a preempted request left behind itself, or any block by its content.
NO_CACHE, OWN_BLOCKS, BY_CONTENT = 0, 1, 2

CONFIG = np.dtype(
    [
        ("max_num_batched_tokens", "i8"),
        ("max_num_seqs", "i8"),
        ("micro_batch_seqs", "i8"),  # requests that one step may hold
        ("block_size", "i8"),
        ("block_shift", "i8"),  # its logarithm, NOBODY when it is no power of two
        ("max_model_len", "i8"),
        ("max_step_tokens", "i8"),  # the largest step that has a price
        ("long_prefill_token_threshold", "i8"),
        ("reserve_full_isl", "i8"),
        ("by_priority", "i8"),
        ("watermark_blocks", "i8"),
        ("steps_in_flight", "i8"),
        ("blind", "i8"),  # a request may be scheduled while its last token is in flight
        ("pipeline_stages", "i8"),
        ("group", "i8"),  # engines that step together
        ("own_micro_batch", "i8"),  # a part-done prompt stays with its micro-batch, which forms whenever there is room
        ("prefix_caching", "i8"),
        ("counters", "i8"),  # the policy lets steps be decided from counters alone
        ("cruises", "i8"),  # stretches of pure decode are taken by one engine without a look at the others
        ("leaps", "i8"),  # stretches of pure decode are skipped
        ("whole_prompt", "i8"),  # a prompt's blocks are all taken at its admission
        ("unrouted", "i8"),  # there is one engine, and a router that would choose it
        ("followers", "i8"),  # some requests arrive after the end of others
        ("cancels", "i8"),  # some requests are dropped after a time
        ("bubbles", "i8"),  # steps may wait for each other: stages of a pipeline, or engines of a group
        ("recording", "i8"),  # every step is written to the journal
        ("api_s_per_request", "f8"),
        ("api_s_per_token", "f8"),
        ("detokenize_s", "f8"),
        ("ring", "i8"),  # a power of two beyond the longest output
        ("stop_ttft_s", "f8"),  # early stop: the limit, and how many may break it
        ("stop_ttft", "i8"),
        ("stop_itl_s", "f8"),
        ("stop_itl", "i8"),
        ("stop_e2e_s", "f8"),
        ("stop_e2e", "i8"),
        ("options", "i8", (8,)),  # the policy's own knobs
    ],
    align=True,
)
# What every request needs comes first, within one line of the processor's cache.
REQUEST = np.dtype(
    [
        ("arrived_at", "f8"),  # of one that follows another: seconds after that one's end, until it arrives
        ("first_scheduled_at", "f8"),
        ("known_tokens", "i4"),  # prompt and outputs so far; one in flight is among them where engines go on blindly
        ("computed_tokens", "i4"),
        ("blocks", "i4"),
        ("next", "i4"),
        ("previous", "i4"),
        ("born", "i4"),  # under counters: the step that made it a decode, and the tokens sampled by then
        ("sampled_at_birth", "i4"),
        ("in_flight", "i4"),  # tokens sampled by steps that have not landed
        ("last_step", "i4"),  # the latest step of the replica that it took part in
        ("cached_tokens", "i4"),  # how many of its tokens were entered in the prefix cache
        ("preemptions", "i4"),
        ("status", "i1"),
        ("decoding", "i1"),  # has sampled since it was last admitted
        ("exhausted", "i1"),  # all of its tokens are in flight: there is nothing left to schedule
        ("lane", "i1"),  # the micro-batch that it belongs to
        ("hit_tokens", "i4"),  # found in the prefix cache at the first admission
        ("scheduled_tokens", "i4"),  # in the step that is being decided
        ("prompt_tokens", "i4"),
        ("follows", "i1"),  # arrives after the end of another one
        ("admitted", "i1"),  # in the step that is being decided
        ("priority", "i4"),
        ("max_new_tokens", "i4"),  # what its client allows, which it takes to the end
        ("text_rank", "i4"),  # place of its id among all ids as text: the engine's last tie-break
        ("left_blocks", "i4"),  # blocks that it left in the free list when it was preempted
        ("left_at", "i8"),  # blocks that had ever been freed before those
        ("seat", "i4"),  # its row of the block table
        ("content_at", "i4"),  # its first block's content, and how many are known
        ("content_blocks", "i4"),
        ("session", "i4"),
        ("follower", "i4"),  # who arrives after its end
        ("tag", "i4"),  # the policy's own memory
        ("preempted_before", "i4"),  # who was preempted before it in the same step
        ("cancel_after", "f8"),  # seconds after its arrival at which it is dropped
        ("preempted_at", "f8"),
        ("preempted_s", "f8"),
        ("bubbles_before", "f8"),
    ],
    align=True,
)
REPLICA = np.dtype(
    [
        ("wake_at", "f8"),
        ("now", "f8"),
        ("device_free_at", "f8"),
        ("seen_free_at", "f8"),  # when the detokeniser is done
        ("busy_s", "f8"),
        ("bubble_s", "f8"),
        ("block_seconds", "f8"),
        ("number", "i8"),
        ("seats", "i8"),
        ("block_size", "i8"),
        ("total_blocks", "i8"),
        ("free_blocks", "i8"),
        ("peak_blocks", "i8"),
        ("freed_blocks", "i8"),  # ever since the start, those that were free then included
        ("free_head", "i8"),  # the free list, where blocks have an identity
        ("free_tail", "i8"),
        ("free_seats", "i8"),
        ("num_running", "i8"),
        ("num_waiting", "i8"),
        ("waiting_head", "i8"),
        ("waiting_tail", "i8"),
        ("preempted_now", "i8"),
        ("preempted_last", "i8"),
        ("in_flight", "i8"),
        ("oldest", "i8"),
        ("lane", "i8"),  # the micro-batch whose turn it is
        ("counting", "i8"),  # whether the lanes' counters are valid, or the records
        ("listed", "i8"),  # entries of running, those of finished requests included
        ("launched", "i8"),  # steps, empty ones beside those of other engines of the group included
        ("iterations", "i8"),
        ("barren", "i8"),  # steps since the last one that sampled a token
        ("scheduled_requests", "i8"),
        ("scheduled_tokens", "i8"),
        ("sampled_tokens", "i8"),
        ("kv_tokens", "i8"),
        ("memory", "i8", (4,)),  # the policy's own
    ],
    align=True,
)
# Requests that travel together through a pipeline; an engine without a pipeline has one lane. There are as many lanes as
# stages, so that each record also holds a stage of the pipeline.
LANE = np.dtype(
    [
        ("stage_free_at", "f8"),
        ("stage_busy_s", "f8"),
        ("landed_at", "f8"),
        ("in_flight", "i8"),
        ("steps", "i8"),
        ("phase", "i8"),  # number of the step modulo the block size
        ("partial", "i8"),  # the one request whose prompt is part-done
        ("decodes", "i8"),
        ("kv_sum", "i8"),  # computed tokens of all decodes
        ("ends_from", "i8"),  # no decode has its last step before this one
        ("peaks_first", "i8"),
        ("peaks_end", "i8"),
    ],
    align=True,
)
OUTCOME = np.dtype(
    [
        ("first_token_at", "f8"),
        ("last_token_at", "f8"),
        ("itl_max", "f8"),
        ("bubble_s", "f8"),
        ("output_tokens", "i4"),
        ("produced", "i4"),
        ("replica", "i4"),
    ],
    align=True,
)
FLIGHT = np.dtype(
    [("end_at", "f8"), ("count", "i8"), ("decodes", "i8"), ("step", "i8"), ("lane", "i8"), ("entry", "i8")], align=True
)
STEP = np.dtype(
    [
        ("chunks_s", "f8"),
        ("layers_s", "f8"),
        ("start_at", "f8"),
        ("scheduled", "i8"),
        ("tokens", "i8"),
        ("chunks", "i8"),
        ("chunk_kv", "i8"),  # computed tokens of the chunks' requests after the step
        ("squares", "i8"),  # of the chunks' lengths, and the rounded KV before them: see PriceList.merged_prefill
        ("rounded_kv", "i8"),
        ("decodes", "i8"),
        ("kv_sum", "i8"),
        ("sampled", "i8"),
        ("entry", "i8"),  # its number in the journal
        ("bulk", "i8"),  # sampled decodes that are known by number alone
        ("named", "i8"),  # sampled requests whose ids lie in the flight
    ],
    align=True,
)
TALLY = np.dtype([("count", "i8"), ("sum_s", "f8")], align=True)
PEAK = np.dtype([("gap", "f8"), ("step", "i8")], align=True)
BLOCK = np.dtype([("content", "i4"), ("holders", "i4"), ("previous", "i4"), ("next", "i4"), ("twin", "i4")], align=True)
# The loop's own state, so that it can leave and go on.
CLOCK = np.dtype(
    [
        ("arriving", "i8"),
        ("events", "i8"),
        ("held_first", "i8"),  # requests that the router keeps in front of the fleet
        ("held_last", "i8"),
        ("api_free_at", "f8"),
        ("written", "i8"),  # entries of the journal, and those that were read before
        ("read", "i8"),
        ("late_ttft", "i8"),
        ("late_itl", "i8"),
        ("late_e2e", "i8"),
        ("first_tokens", "i8"),
        ("aged", "i8"),
    ],
    align=True,
)
EVENT = np.dtype([("at", "f8"), ("what", "i8")], align=True)
# A step, or something that happened to a request in it; `step` is the entry of the journal that the step has.
JOURNAL = np.dtype(
    [
        *((name, "i8") for name in ("kind", "step", "request", "amount", "engine", "number", "lane")),
        *((name, "f8") for name in ("sched_s", "start_s", "end_s")),
        *((name, "i8") for name in ("tokens", "kv_tokens", "scheduled", "num_running", "num_waiting", "free_blocks")),
    ],
    align=True,
)


class Cache(NamedTuple):
    """The prefix cache: which block of an engine holds which content; all but empty where blocks have no identity."""

    contents: Any  # int64: the content of every request's blocks, one request after another
    first: Any  # int64[R, contents]: the block that was entered first for a content, or NOBODY
    blocks: Any  # Block[R, blocks]
    table: Any  # int64[R, seats, blocks of a request]


_I, _I2 = types.int64[::1], types.int64[:, ::1]
_NamedTupleType: Any = types.NamedTuple
CACHE_TYPE = _NamedTupleType((_I, _I2, from_dtype(BLOCK)[:, ::1], types.int64[:, :, ::1]), Cache)

# schedule(config, replica, requests, running, cache): sets scheduled_tokens, grows and releases blocks, moves requests
# between running[:replica.num_running] and the waiting list.
SCHEDULE = types.void(from_dtype(CONFIG), from_dtype(REPLICA), from_dtype(REQUEST)[::1], types.int64[::1], CACHE_TYPE)
# route(state, replicas, requests, contents, request) -> engine, or NOBODY; state is the router's own memory.
ROUTE = types.int64(types.int64[::1], from_dtype(REPLICA)[::1], from_dtype(REQUEST)[::1], types.int64[::1], types.int64)
