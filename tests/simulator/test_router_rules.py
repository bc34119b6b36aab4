"""What each router does that the others do not: ties, sticking, spreading, waiting."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simulator import catalog
from simulator.content import Content
from simulator.kernel.jit import INTERPRETED, ready
from simulator.kernel.records import NOBODY, REPLICA, REQUEST
from simulator.outcome import Outcome
from simulator.resolve import resolve
from simulator.routers import OWN
from simulator.run import prepare, simulate
from simulator.spec.deployment import Deployment
from simulator.traffic import Traffic

BLOCK = 16
DEPLOYMENT = {
    "model": "meta-llama/Llama-3.1-8B",
    "engine": "vllm-0.19",
    "device": "H200-SXM",
    "replicas": 3,
    "max_model_len": 512,
    "block_size": BLOCK,
    "enable_prefix_caching": True,
}
LINEAR = ({"source": "linear", "base_s": 5e-3, "per_token_s": 2e-5, "per_kv_token_s": 1e-9},)


def records(array: NDArray[Any]) -> Any:
    """Returns the array as kernels take it."""
    return array.view(np.recarray) if INTERPRETED else array


@dataclass
class Fleet:
    """Engines, the requests that come to them, and a router with its memory."""

    router: str
    running: list[int]
    waiting: list[int]
    free: list[int] | None = None
    seats: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        self.replicas = np.zeros(len(self.running), dtype=REPLICA)
        self.replicas["number"] = np.arange(len(self.running))
        self.replicas["seats"] = self.seats
        self.replicas["block_size"] = BLOCK
        self.replicas["total_blocks"] = 10_000
        self.replicas["free_blocks"] = 10_000 if self.free is None else self.free
        self.load(self.running, self.waiting)
        self.state = np.zeros(OWN + 100, dtype=np.int64)
        self.state[0] = self.seed

    def load(self, running: list[int], waiting: list[int]) -> None:
        """Changes the number of requests of every engine."""
        self.replicas["num_running"] = running
        self.replicas["num_waiting"] = waiting

    def route(self, prompt: int = 100, session: int = NOBODY, contents: tuple[int, ...] = ()) -> int:
        """Returns where a request goes."""
        requests = np.zeros(1, dtype=REQUEST)
        requests["prompt_tokens"] = requests["known_tokens"] = prompt
        requests["session"] = session
        requests["content_blocks"] = len(contents)
        function: Any = ready(catalog.module("routers", self.router, "router").route)
        ids = np.array(contents or (0,), dtype=np.int64)
        return int(function(self.state, records(self.replicas), records(requests), ids, 0))


def test_round_robin_goes_round() -> None:
    fleet = Fleet("round_robin", [9, 0, 0], [9, 0, 0], seed=7)
    assert [fleet.route() for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize(("running", "waiting", "expected"), [([3, 1, 2], [0, 0, 0], 1), ([0, 1, 1], [5, 1, 1], 1), ([1], [1], 0)])
def test_least_outstanding_counts_running_and_waiting(running: list[int], waiting: list[int], expected: int) -> None:
    assert Fleet("least_outstanding", running, waiting).route() == expected


def test_least_waiting_counts_the_queue_alone() -> None:
    assert Fleet("least_waiting", [50, 0, 0], [1, 2, 1]).route() == 0
    assert Fleet("least_waiting", [0, 50, 0], [1, 0, 1]).route() == 1


@pytest.mark.parametrize("name", ["random", "power_of_two"])
@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_chance_spreads_evenly_and_follows_the_seed(name: str, seed: int) -> None:
    draws = 2000
    one, same, other = (Fleet(name, [1] * 5, [1] * 5, seed=s) for s in (seed, seed, seed + 1))
    found = [one.route() for _ in range(draws)]
    assert found == [same.route() for _ in range(draws)] != [other.route() for _ in range(draws)]
    counts = Counter(found)
    # Five standard deviations of a binomial count.
    assert all(abs(counts[r] - draws / 5) < 5 * (draws * 0.2 * 0.8) ** 0.5 for r in range(5))
    pairs = Counter(pairwise(found))
    assert all(abs(pairs[p, q] - draws / 25) < 5 * (draws * 0.04 * 0.96) ** 0.5 for p in range(5) for q in range(5))


def test_power_of_two_never_takes_the_most_loaded_one_and_seldom_the_second() -> None:
    fleet = Fleet("power_of_two", [9, 0, 3, 2], [0, 0, 0, 0])
    counts = Counter(fleet.route() for _ in range(3000))
    assert counts[0] == 0
    # Of the six pairs the least loaded engine wins three, the next two, the next one.
    assert [round(counts[r] / 500) for r in (1, 3, 2)] == [3, 2, 1]
    assert Fleet("power_of_two", [9], [9]).route() == 0


def test_deferred_waits_for_a_seat_and_blocks() -> None:
    fleet = Fleet("deferred", [4, 4, 2], [0, 0, 2], [10, 20, 30], seats=4)
    assert fleet.route() == NOBODY
    fleet.load([4, 3, 4], [0, 0, 0])
    assert fleet.route() == 1
    assert fleet.route(prompt=20 * BLOCK) == 1
    assert fleet.route(prompt=20 * BLOCK + 1) == NOBODY
    fleet.load([3, 3, 2], [0, 0, 0])
    assert fleet.route() == 2, "the most free blocks"
    fleet.replicas["free_blocks"] = [10, 10, 10]
    assert fleet.route() == 0
    fleet.load([3, 0, 2], [0, 0, 0])
    assert fleet.route(prompt=50 * BLOCK) == 1, "whatever is not refused fits an empty engine"


def test_deferred_leaves_the_queue_of_an_engine_its_blocks() -> None:
    # The queue's one entry is of the size of the request itself: both need 8 blocks.
    fleet = Fleet("deferred", [1], [1], [16], seats=4)
    assert fleet.route(prompt=8 * BLOCK) == 0
    fleet.replicas["free_blocks"] = 15
    assert fleet.route(prompt=8 * BLOCK) == NOBODY


def test_a_session_sticks_to_the_engine_it_began_on() -> None:
    fleet = Fleet("session_affinity", [3, 1, 2], [0, 0, 0])
    assert fleet.route(session=4) == 1
    fleet.load([0, 50, 2], [0, 9, 0])
    assert [fleet.route(session=4), fleet.route(session=5), fleet.route()] == [1, 0, 0]
    fleet.load([50, 50, 2], [0, 9, 0])
    assert [fleet.route(session=s) for s in (4, 5, 6, NOBODY)] == [1, 0, 2, 2]


def test_a_known_prefix_draws_a_request_and_output_is_not_looked_at() -> None:
    fleet = Fleet("prefix_aware", [3, 1, 2], [0, 0, 0])
    # Ten blocks of prompt, and two of output that the router must not remember.
    assert fleet.route(10 * BLOCK, contents=(*range(10), 50, 51)) == 1
    assert not fleet.state[OWN + 50 :].any()
    fleet.load([3, 30, 2], [0, 0, 0])
    assert fleet.route(10 * BLOCK, contents=(*range(4), *range(20, 26))) == 1, "four of ten are more than 0.3"
    assert fleet.route(10 * BLOCK, contents=(*range(3), *range(30, 37))) == 2, "three of ten are not"
    assert fleet.route(10 * BLOCK, contents=(*range(3), *range(30, 37))) == 2, "and now the whole prompt is known there"
    # Blocks 0 to 2 were last sent to engine 2, but 3 to 9 to engine 1, which has had 0 to 2 before them as well.
    assert fleet.route(10 * BLOCK, contents=tuple(range(10))) == 1


def test_a_prefix_does_not_overload_an_engine() -> None:
    fleet = Fleet("prefix_aware", [0, 1, 1], [0, 0, 0])
    ids = tuple(range(10))
    assert fleet.route(10 * BLOCK, contents=ids) == 0
    fleet.load([64, 0, 1], [0, 0, 0])
    assert fleet.route(10 * BLOCK, contents=ids) == 0, "64 more is still balanced"
    fleet.load([260, 200, 195], [0, 0, 0])
    assert fleet.route(10 * BLOCK, contents=ids) == 0, "65 more, but not half as many again"
    fleet.load([65, 0, 1], [0, 0, 0])
    assert fleet.route(10 * BLOCK, contents=ids) == 1
    fleet.load([0, 5, 1], [0, 0, 0])
    assert fleet.route(10 * BLOCK, contents=ids) == 1, "where the prompt was sent last"


def test_requests_of_unknown_content_go_to_the_least_loaded() -> None:
    fleet = Fleet("prefix_aware", [3, 1, 2], [0, 0, 0])
    assert [fleet.route(8), fleet.route(500)] == [1, 1]
    assert not fleet.state[OWN:].any()


# In a fleet


def conversations(router: str) -> tuple[Outcome, Traffic]:
    """Returns ten conversations of four turns on three engines behind a router; each turn begins with all before it."""
    turns, count = 4, 10
    session = np.tile(np.arange(count), turns)
    turn = np.repeat(np.arange(turns), count)
    prompt, output = 40 + 64 * turn, np.full(len(turn), 24)
    blocks = (prompt + output) // BLOCK
    ids = np.concatenate([who * 100 + np.arange(filled) for who, filled in zip(session, blocks, strict=True)])
    requests = Traffic(
        arrival_s=np.linspace(0.0, 2.0, len(turn), endpoint=False),
        prompt_tokens=prompt,
        output_tokens=output,
        priority=np.zeros(len(turn), dtype=np.int64),
        rate_rps=20.0,
        session=session,
        content=Content(ids, np.concatenate(([0], np.cumsum(blocks))), BLOCK),
    )
    deployment = Deployment.parse({**DEPLOYMENT, "router": router})
    return simulate(prepare(resolve(deployment), LINEAR), requests), requests


@pytest.mark.parametrize("router", ["session_affinity", "prefix_aware"])
def test_later_turns_find_their_conversation(router: str) -> None:
    outcome, requests = conversations(router)
    turns_on = [set(outcome.replica[requests.session == s].tolist()) for s in range(10)]
    # Half of a second turn is known, which is enough for the prefix to decide.
    assert all(len(engines) == 1 for engines in turns_on)
    assert len(set.union(*turns_on)) > 1, "conversations spread over the engines"
    apart, _ = conversations("round_robin")
    assert outcome.cached_tokens.sum() > 2 * apart.cached_tokens.sum()
    whole = (requests.prompt_tokens - 1) // BLOCK * BLOCK
    later = np.arange(40) >= 10
    assert (outcome.cached_tokens[later] > 0).all() and (outcome.cached_tokens <= whole).all()


def test_the_fleet_holds_what_deferred_keeps_back() -> None:
    rng = np.random.default_rng(2)
    requests = Traffic(
        arrival_s=np.cumsum(rng.exponential(0.002, 60)),
        prompt_tokens=rng.integers(1, 200, 60),
        output_tokens=rng.integers(1, 40, 60),
        priority=np.zeros(60, dtype=np.int64),
        rate_rps=500.0,
    )
    queue_s = {}
    for router in ("deferred", "least_outstanding"):
        deployment = Deployment.parse({**DEPLOYMENT, "router": router, "max_num_seqs": 4})
        outcome = simulate(prepare(resolve(deployment), LINEAR), requests, record_steps=True)
        assert np.isfinite(outcome.finished_at).all()
        assert outcome.steps is not None and outcome.steps.steps["num_running"].max() == 4
        # Nobody is left over when an engine decides, and no seat is empty while somebody waits for another.
        assert (outcome.steps.steps["num_waiting"].max() == 0) == (router == "deferred")
        queue_s[router] = (outcome.first_scheduled_at - outcome.arrived_at).mean()
    assert queue_s["deferred"] < queue_s["least_outstanding"]
