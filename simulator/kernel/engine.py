"""The door to the compiled loop: numpy arrays in, numpy arrays out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import Infeasible
from simulator.kernel import gaps, loop, packed
from simulator.kernel.jit import entry, passed
from simulator.kernel.limits import Fleet, Frontend, Limits, Stop
from simulator.kernel.pricelist import PriceList
from simulator.kernel.records import CANCELLED, JOURNAL, NOBODY
from simulator.kernel.routed import ask_for_all
from simulator.kernel.state import Prices, World
from simulator.kernel.world import configure, engine_of, events_in, requests_of, words, world_of
from simulator.traffic import Traffic

__all__ = ["Fleet", "Frontend", "Limits", "Run", "Stop", "prices_of", "run"]


@dataclass(frozen=True)
class Run:
    """What the loop leaves behind, as numpy records: Request[N], Outcome[N], Replica[R], Lane[R, stages] and tallies.

    `batches` and `tokens` count steps by their number of requests and of tokens; `journal` is empty unless asked for.
    `engine` is `counter` where steps were decided in constant time, else `plain`.
    """

    requests: NDArray[Any]
    outcomes: NDArray[Any]
    replicas: NDArray[Any]
    lanes: NDArray[Any]
    gaps: NDArray[Any]
    batches: NDArray[np.int64]
    tokens: NDArray[np.int64]
    journal: NDArray[Any]
    rejected: NDArray[np.bool_]
    cancelled: NDArray[np.bool_]
    stopped: bool
    engine: str


_CAUSES = {
    loop.STALLED: "the scheduler left requests for ever: nothing was scheduled while nothing was due to arrive",
    loop.BARREN: f"requests preempt each other for ever: {loop.MOST_BARREN_STEPS:,} steps in a row gave no token",
}


def prices_of(price_list: PriceList, limits: Limits) -> Prices:
    """Returns the price list as the loop reads it."""
    return packed.prices_of(price_list, limits.max_num_seqs, limits.max_model_len)


def run(
    limits: Limits,
    prices: Prices,
    traffic: Traffic,
    arrival_s: NDArray[np.float64],
    fleet: Fleet,
    stop: Stop | None = None,
    record: bool = False,
) -> Run:
    """Returns the run of `traffic` arriving at `arrival_s` on the fleet.

    Raises Infeasible when requests can never go on, preempt each other for ever, or make a step that has no price.
    """
    content = traffic.content_for(limits.block_size) if limits.prefix_caching else None
    requests, outcomes, rejected = requests_of(limits, traffic, arrival_s, content)
    several = fleet.replicas > 1 and fleet.always_chooses and limits.group == 1
    if several and not record and not events_in(requests, fleet):
        order, bounds = _routed(fleet, requests, content)
        sorted_requests, sorted_outcomes = _taken(requests, order), _taken(outcomes, order)
        world = world_of(limits, prices, fleet, sorted_requests, sorted_outcomes, content, record)
        configure(world, limits, replace(fleet, replicas=1), content, stop or Stop(), record)
        journal, stopped = _engine_by_engine(world, fleet, bounds)
        words(requests)[order], words(outcomes)[order] = words(sorted_requests), words(sorted_outcomes)
    else:
        world = world_of(limits, prices, fleet, requests, outcomes, content, record)
        configure(world, limits, fleet, content, stop or Stop(), record)
        journal, stopped = _play(world, fleet, record)
    tallies, seats = world.tallies["count"][gaps.BINS :], limits.max_num_seqs + 1
    return Run(
        requests=requests,
        outcomes=outcomes,
        replicas=world.replicas,
        lanes=world.lanes.reshape(fleet.replicas, limits.pipeline_stages),
        gaps=world.tallies[: gaps.BINS],
        batches=tallies[:seats],
        tokens=tallies[seats:],
        journal=journal,
        rejected=rejected,
        cancelled=requests["status"] == CANCELLED,
        stopped=stopped,
        engine="counter" if world.config["counters"][0] else "plain",
    )


def _play(world: World, fleet: Fleet, record: bool = False) -> tuple[NDArray[Any], bool]:
    """Runs the loop to its end; returns the journal, and whether the run was stopped as hopeless."""
    pages = []
    schedule, route = passed(fleet.schedule), passed(fleet.route)
    while (status := entry(loop.run)(world, schedule, route)) == loop.JOURNAL_FULL:
        pages.append(_read(world))
    if record:
        pages.append(_read(world))
    if status == loop.OUT_OF_TABLE:
        raise Infeasible(_too_large(world))
    if status not in (loop.DONE, loop.STOPPED):
        raise Infeasible(_CAUSES[status])
    return np.concatenate(pages) if pages else np.zeros(0, dtype=JOURNAL), status == loop.STOPPED


def _routed(fleet: Fleet, requests: NDArray[Any], content: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the requests engine by engine, each in order of arrival, and where each engine's begin and end among them."""
    chosen = np.full(len(requests), NOBODY, dtype=np.int64)
    ids = content.ids if content is not None and len(content.ids) else np.zeros(1, dtype=np.int64)
    ask_for_all(fleet, requests, ids, chosen)
    order = np.argsort(chosen, kind="stable")
    return order, np.searchsorted(chosen[order], np.arange(fleet.replicas + 1))


def _engine_by_engine(world: World, fleet: Fleet, bounds: NDArray[np.int64]) -> tuple[NDArray[Any], bool]:
    """Runs the engines one after another: under a router that looks at nothing they know nothing of each other."""
    for r, (low, high) in enumerate(pairwise(bounds)):
        mine = engine_of(world, r, low, high)
        journal, stopped = _play(mine, fleet)
        mine.outcomes["replica"][mine.outcomes["replica"] == 0] = r
        mine.replicas["number"] = r
        for latency in ("ttft", "itl", "e2e"):
            world.config[f"stop_{latency}"] -= mine.clock[f"late_{latency}"]
        if stopped:
            break
    return journal, stopped


def _taken(records: NDArray[Any], order: NDArray[np.int64]) -> NDArray[Any]:
    return words(records)[order].view(records.dtype).ravel()


def _too_large(world: World) -> str:
    prices = world.prices
    step = world.steps[int(np.argmax(world.steps["tokens"]))]
    most = int(prices.at["tokens"][0]) - 1
    if int(step["tokens"]) > most:
        return f"a step of {int(step['tokens']):,} tokens has no price: the operator times end at {most:,}"
    if int(step["decodes"]) > int(prices.at["last_batch"][0]):
        batch = int(prices.at["last_batch"][0])
        return f"a step of {int(step['decodes']):,} decodes has no price: the operator times end at {batch:,}"
    if int(step["kv_sum"]) > int(step["decodes"]) * int(prices.at["last_decode_kv"][0]):
        mean, longest = int(step["kv_sum"]) // int(step["decodes"]), int(prices.at["last_decode_kv"][0])
        return f"decodes over {mean:,} KV tokens on average have no price: the operator times end at {longest:,}"
    before, longest = int(step["rounded_kv"]), int(prices.at["last_prefill_kv"][0])
    return f"a prompt's chunk after {before:,} KV tokens has no price: the operator times end at {longest:,}"


def _read(world: World) -> NDArray[Any]:
    """Returns the journal's entries, and makes room for new ones."""
    written = int(world.clock["written"][0])
    world.clock["read"][0] += written
    world.clock["written"][0] = 0
    return np.array(world.journal[:written])
