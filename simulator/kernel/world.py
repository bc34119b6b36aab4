"""The arrays that the loop starts from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.kernel import gaps, journal
from simulator.kernel.jit import INTERPRETED
from simulator.kernel.limits import Fleet, Frontend, Limits, Stop
from simulator.kernel.records import (
    BLOCK,
    BY_CONTENT,
    CLOCK,
    CONFIG,
    EVENT,
    FLIGHT,
    JOURNAL,
    LANE,
    NO_CACHE,
    NOBODY,
    OUTCOME,
    OWN_BLOCKS,
    PEAK,
    REJECTED,
    REPLICA,
    REQUEST,
    STEP,
    TALLY,
    WAITING,
    Cache,
)
from simulator.kernel.state import Prices, World
from simulator.traffic import Traffic


def world_of(
    limits: Limits, prices: Prices, fleet: Fleet, requests: NDArray[Any], outcomes: NDArray[Any], content: Any, record: bool
) -> World:
    """Returns the arrays of an idle fleet in front of these requests."""
    engines, lanes, seats = fleet.replicas, limits.pipeline_stages, limits.max_num_seqs
    ring = _ring(outcomes)
    rings = np.zeros((engines * lanes, ring + limits.block_size), dtype=np.int64)
    rings[:, :ring] = NOBODY
    steps = int(prices.at["tokens"][0]) + seats + 1
    events = 2 * len(requests) + 1 if events_in(requests, fleet) else 1
    entries = max(200_000, 4 * int(journal.room_for_a_turn(limits.group, limits.depth, seats))) if record else 0
    state = np.zeros(max(fleet.memory, 8), dtype=np.int64)
    state[0] = fleet.seed
    running = np.zeros((engines, (3 + limits.depth) * seats), dtype=np.int64)
    running[:, 2 * seats : 3 * seats] = np.arange(seats)
    return World(
        config=_records(np.zeros(1, dtype=CONFIG)),
        clock=_records(_clock()),
        replicas=_records(_replicas(limits, engines, content is not None)),
        lanes=_records(_lanes(engines * lanes)),
        requests=_records(requests),
        outcomes=_records(outcomes),
        running=running,
        flights=_records(np.zeros((engines, limits.depth), dtype=FLIGHT)),
        steps=_records(np.zeros(engines, dtype=STEP)),
        rings=rings,
        peaks=_records(np.zeros((engines * lanes, ring), dtype=PEAK)),
        tallies=_records(np.zeros(gaps.BINS + steps, dtype=TALLY)),
        events=_records(np.zeros(events, dtype=EVENT)),
        router_state=state,
        journal=_records(np.zeros(entries, dtype=JOURNAL)),
        cache=_cache(limits, engines, outcomes, requests, content),
        prices=prices,
    )


def engine_of(world: World, r: int, low: int, high: int) -> World:
    """Returns the part of the arrays that engine `r` alone needs for requests[low:high], with a clock of its own."""
    lanes = len(world.lanes) // len(world.replicas)
    own, its = slice(r, r + 1), slice(r * lanes, (r + 1) * lanes)
    blocks = own if world.cache.table.size > 1 else slice(0, 1)
    world.replicas["number"][r] = 0
    return world._replace(
        clock=_records(_clock()),
        replicas=world.replicas[own],
        lanes=world.lanes[its],
        requests=world.requests[low:high],
        outcomes=world.outcomes[low:high],
        running=world.running[own],
        flights=world.flights[own],
        steps=world.steps[own],
        rings=world.rings[its],
        peaks=world.peaks[its],
        cache=world.cache._replace(
            first=world.cache.first[blocks], blocks=world.cache.blocks[blocks], table=world.cache.table[blocks]
        ),
    )


def events_in(requests: NDArray[Any], fleet: Fleet) -> bool:
    """Returns whether anything happens outside the engines beside requests that arrive by themselves."""
    outside = (requests["cancel_after"] < math.inf).any() or (requests["follower"] != NOBODY).any()
    return bool(outside) or fleet.frontend != Frontend()


def _ring(outcomes: NDArray[Any]) -> int:
    return 1 << (int(outcomes["output_tokens"].max(initial=1)) + 1).bit_length()


def _cache(limits: Limits, engines: int, outcomes: NDArray[Any], requests: NDArray[Any], content: Any) -> Cache:
    """Returns the prefix cache, with room for every block where blocks have an identity."""
    if content is None:
        none = np.zeros((1, 1), dtype=np.int64)
        return Cache(np.zeros(1, dtype=np.int64), none, _records(np.zeros((1, 1), dtype=BLOCK)), none.reshape(1, 1, 1))
    blocks = np.zeros((engines, limits.kv_blocks), dtype=BLOCK)
    blocks["content"] = blocks["twin"] = NOBODY
    blocks["previous"] = np.arange(limits.kv_blocks) - 1
    blocks["next"] = np.arange(limits.kv_blocks) + 1
    blocks["next"][:, -1] = NOBODY
    longest = int((requests["prompt_tokens"] + outcomes["output_tokens"]).max(initial=1))
    ids = np.ascontiguousarray(content.ids, dtype=np.int64)
    return Cache(
        contents=ids if len(ids) else np.zeros(1, dtype=np.int64),
        first=np.full((engines, int(ids.max(initial=0)) + 1), NOBODY, dtype=np.int64),
        blocks=_records(blocks),
        table=np.zeros((engines, limits.max_num_seqs, longest // limits.block_size + 2), dtype=np.int64),
    )


def requests_of(
    limits: Limits, traffic: Traffic, arrival_s: NDArray[np.float64], content: Any
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """Returns Request[N] and Outcome[N] as they are before a run, and who is refused."""
    count = len(traffic)
    # A record spans several cache lines: one copy of a whole one, and few fields of their own, keep short runs fast.
    requests = _copies(_BLANK_REQUEST, count)
    requests["arrived_at"] = arrival_s
    requests["prompt_tokens"] = requests["known_tokens"] = traffic.prompt_tokens
    requests["max_new_tokens"] = traffic.output_tokens
    _uncommon(requests, traffic)
    if content is not None:
        requests["content_at"] = content.starts[:-1]
        requests["content_blocks"] = np.diff(content.starts)
    if limits.by_priority:
        requests["text_rank"][np.argsort(np.arange(count).astype(str), kind="stable")] = np.arange(count)
    outcomes = _copies(_BLANK_OUTCOME, count)
    outcomes["output_tokens"] = traffic.output_tokens
    total = traffic.prompt_tokens + traffic.output_tokens
    blocks = -(-total // limits.block_size)
    rejected = (total > limits.max_model_len) | (blocks > limits.kv_blocks - limits.watermark_blocks)
    if limits.longest_prompt is not None:
        rejected |= total > limits.longest_prompt
    if rejected.any():
        requests["status"][rejected] = REJECTED
    return requests, outcomes, rejected


def _uncommon(requests: NDArray[Any], traffic: Traffic) -> None:
    """Writes what most traffic has none of: priorities, sessions, deadlines, and who follows whom."""
    follows = traffic.after >= 0
    if follows.any():
        requests["arrived_at"][follows] = traffic.think_s[follows]
        requests["follows"] = follows
        requests["follower"][traffic.after[follows]] = np.flatnonzero(follows)
    for field, values, blank in (
        ("priority", traffic.priority, 0),
        ("session", traffic.session, NOBODY),
        ("cancel_after", traffic.cancel_after_s, math.inf),
    ):
        if (values != blank).any():
            requests[field] = values


def _copies(blank: Any, count: int) -> NDArray[Any]:
    """Returns so many copies of a record."""
    records = np.empty(count, dtype=blank.dtype)
    words(records)[:] = np.frombuffer(blank.tobytes(), dtype=np.int64)
    return records


def words(records: NDArray[Any]) -> NDArray[np.int64]:
    """Returns the same memory as rows of whole numbers, which numpy moves faster than records."""
    return records.view(np.int64).reshape(len(records), -1)


def _blank_request() -> Any:
    blank = np.zeros(1, dtype=REQUEST)
    blank["first_scheduled_at"] = np.nan
    blank["cancel_after"] = np.inf
    blank["status"] = WAITING
    for field in ("next", "previous", "born", "last_step", "hit_tokens", "follower", "preempted_before", "session"):
        blank[field] = NOBODY
    return blank[0]


def _blank_outcome() -> Any:
    blank = np.zeros(1, dtype=OUTCOME)
    blank["first_token_at"] = blank["last_token_at"] = np.nan
    blank["replica"] = NOBODY
    return blank[0]


_BLANK_REQUEST, _BLANK_OUTCOME = _blank_request(), _blank_outcome()


def configure(world: World, limits: Limits, fleet: Fleet, content: Any, stop: Stop, record: bool) -> None:
    """Writes the configuration into the arrays."""
    cached = BY_CONTENT if content is not None else OWN_BLOCKS if limits.prefix_caching else NO_CACHE
    counters = limits.counters and cached != BY_CONTENT and not record
    cruises = counters and limits.pipeline_stages == 1 and limits.group == 1 and not fleet.frontend.detokenize_s
    values = {
        "max_num_batched_tokens": limits.max_num_batched_tokens,
        "max_num_seqs": limits.max_num_seqs,
        "micro_batch_seqs": max(limits.max_num_seqs // limits.pipeline_stages, 1)
        if limits.own_micro_batch
        else limits.max_num_seqs,
        "block_size": limits.block_size,
        "block_shift": limits.block_size.bit_length() - 1 if limits.block_size & (limits.block_size - 1) == 0 else NOBODY,
        "max_model_len": limits.max_model_len,
        "max_step_tokens": int(world.prices.at["tokens"][0]) - 1,
        "long_prefill_token_threshold": limits.long_prefill_token_threshold,
        "reserve_full_isl": limits.reserve_full_isl,
        "by_priority": limits.by_priority,
        "watermark_blocks": limits.watermark_blocks,
        "steps_in_flight": limits.depth,
        "blind": limits.asynchronous and limits.pipeline_stages == 1,
        "pipeline_stages": limits.pipeline_stages,
        "group": limits.group,
        "own_micro_batch": limits.own_micro_batch,
        "prefix_caching": cached,
        "counters": counters,
        "cruises": cruises,
        "leaps": limits.leaps and cruises,
        "whole_prompt": limits.whole_prompt,
        "followers": bool(world.requests["follows"].any()),
        "cancels": bool((world.requests["cancel_after"] < math.inf).any()),
        "bubbles": limits.pipeline_stages > 1 or limits.group > 1,
        "unrouted": fleet.replicas == 1 and fleet.always_chooses,
        "recording": record,
        "api_s_per_request": fleet.frontend.api_s_per_request,
        "api_s_per_token": fleet.frontend.api_s_per_token,
        "detokenize_s": fleet.frontend.detokenize_s,
        "ring": _ring(world.outcomes),
        "stop_ttft_s": stop.ttft_s,
        "stop_ttft": stop.ttft,
        "stop_itl_s": stop.itl_s,
        "stop_itl": stop.itl,
        "stop_e2e_s": stop.e2e_s,
        "stop_e2e": stop.e2e,
    }
    for name, value in values.items():
        world.config[name] = value
    world.replicas["counting"] = counters
    world.config["options"][0, : len(limits.options)] = limits.options


def _clock() -> NDArray[Any]:
    clock = np.zeros(1, dtype=CLOCK)
    clock["held_first"] = clock["held_last"] = NOBODY
    return clock


def _lanes(count: int) -> NDArray[Any]:
    lanes = np.zeros(count, dtype=LANE)
    lanes["partial"] = NOBODY
    return lanes


def _replicas(limits: Limits, count: int, identified: bool) -> NDArray[Any]:
    replicas = np.zeros(count, dtype=REPLICA)
    replicas["number"] = np.arange(count)
    replicas["wake_at"] = np.inf
    replicas["seats"] = limits.max_num_seqs
    replicas["block_size"] = limits.block_size
    replicas["free_seats"] = limits.max_num_seqs if identified else NOBODY
    replicas["total_blocks"] = replicas["free_blocks"] = replicas["freed_blocks"] = limits.kv_blocks
    replicas["free_tail"] = limits.kv_blocks - 1
    replicas["waiting_head"] = replicas["waiting_tail"] = NOBODY
    return replicas


def _records(array: NDArray[Any]) -> Any:
    """Returns the array as it is for compiled code, and with attribute access for interpreted code."""
    return array.view(np.recarray) if INTERPRETED else array
