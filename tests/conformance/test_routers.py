"""Every file of simulator/routers keeps the contract of the folder."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simulator import catalog
from simulator.kernel.jit import INTERPRETED, ready
from simulator.kernel.records import NOBODY, REPLICA, REQUEST
from simulator.resolve import resolve
from simulator.routers import OWN
from simulator.run import prepare, simulate
from simulator.spec.deployment import Deployment
from simulator.traffic import Traffic
from tests.conformance.contract import check, modules

ROUTERS = modules("routers")
ATTRIBUTES = {"IGNORES_STATE": bool, "STATE_PER_SESSION": bool, "STATE_PER_CONTENT": bool}
FLEET = {
    "model": "meta-llama/Llama-3.1-8B",
    "engine": "vllm-0.19",
    "device": "H200-SXM",
    "replicas": 4,
    "num_gpu_blocks_override": 300,
    "max_num_seqs": 4,
    "max_model_len": 512,
}
LINEAR = ({"source": "linear", "base_s": 5e-3, "per_token_s": 2e-5, "per_kv_token_s": 1e-9},)
SESSIONS, CONTENTS, BLOCKS, BLOCK = 7, 30, 6, 16


def test_the_known_ones_are_found() -> None:
    known = {"round_robin", "random", "least_outstanding", "least_waiting", "power_of_two", "deferred"}
    assert known | {"session_affinity", "prefix_aware"} <= set(catalog.names("routers"))


@pytest.mark.parametrize(("name", "module"), ROUTERS)
def test_it_keeps_the_contract(name: str, module: ModuleType) -> None:
    check(module, ATTRIBUTES, {"route": ("state", "replicas", "requests", "contents", "request")})
    assert not (module.STATE_PER_SESSION and module.STATE_PER_CONTENT), "both would begin at the same place"


def records(array: NDArray[Any]) -> Any:
    """Returns the array as kernels take it."""
    return array.view(np.recarray) if INTERPRETED else array


def state_of(module: ModuleType, seed: int = 0) -> NDArray[np.int64]:
    """Returns the memory that a router begins a run with: no more than it says that it needs."""
    more = SESSIONS if module.STATE_PER_SESSION else CONTENTS if module.STATE_PER_CONTENT else 0
    state = np.zeros(OWN + more, dtype=np.int64)
    state[0] = seed
    return state


def arrivals(count: int = 40) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Returns requests of any session and content, and the contents of their blocks."""
    rng = np.random.default_rng(5)
    requests = np.zeros(count, dtype=REQUEST)
    requests["prompt_tokens"] = requests["known_tokens"] = rng.integers(1, BLOCKS * BLOCK, count)
    requests["session"] = rng.integers(NOBODY, SESSIONS, count)
    requests["content_at"] = np.arange(count) * BLOCKS
    requests["content_blocks"] = BLOCKS
    return requests, rng.integers(0, CONTENTS, count * BLOCKS)


def fleet(seed: int, count: int = 5) -> NDArray[Any]:
    """Returns engines of any load."""
    replicas = np.zeros(count, dtype=REPLICA)
    rng = np.random.default_rng(seed)
    for field in ("num_running", "num_waiting", "free_blocks"):
        replicas[field] = rng.integers(0, 100, count)
    replicas["num_waiting"] //= rng.integers(1, 100, count)
    replicas["number"] = np.arange(count)
    replicas["seats"], replicas["total_blocks"], replicas["block_size"] = 90, 100, BLOCK
    return replicas


def routed(module: ModuleType, replicas: NDArray[Any], seed: int = 0) -> list[int]:
    """Returns where a router sends requests in turn, from a memory of its own; raises where it writes to what is not its own."""
    requests, contents = arrivals()
    state, route = state_of(module, seed), ready(module.route)
    before = (replicas.copy(), requests.copy(), contents.copy())
    chosen = [int(route(state, records(replicas), records(requests), contents, i)) for i in range(len(requests))]
    assert all((old == new).all() for old, new in zip(before, (replicas, requests, contents), strict=True)), "it only looks"
    assert state[0] == seed, "the seed stays"
    return chosen


@pytest.mark.parametrize(("name", "module"), ROUTERS)
@pytest.mark.parametrize("engines", [1, 2, 5])
def test_it_returns_an_engine_or_nobody_and_the_same_again(name: str, module: ModuleType, engines: int) -> None:
    chosen = routed(module, fleet(1, engines), seed=3)
    assert set(chosen) <= {NOBODY, *range(engines)}
    assert chosen == routed(module, fleet(1, engines), seed=3)


@pytest.mark.parametrize(("name", "module"), ROUTERS)
def test_an_idle_fleet_takes_everybody(name: str, module: ModuleType) -> None:
    replicas = fleet(1)
    replicas["num_running"] = replicas["num_waiting"] = 0
    replicas["free_blocks"] = replicas["total_blocks"]
    assert NOBODY not in routed(module, replicas)


@pytest.mark.parametrize(("name", "module"), ROUTERS)
def test_it_ignores_state_where_it_says_so(name: str, module: ModuleType) -> None:
    same = routed(module, fleet(1)) == routed(module, fleet(2))
    assert same or not module.IGNORES_STATE
    if module.IGNORES_STATE:
        assert NOBODY not in routed(module, fleet(1))


@pytest.mark.parametrize(("name", "module"), ROUTERS)
def test_a_fleet_behind_it_serves_everybody(name: str, module: ModuleType) -> None:
    rng = np.random.default_rng(0)
    traffic = Traffic(
        arrival_s=np.cumsum(rng.exponential(0.005, 100)),
        prompt_tokens=rng.integers(1, 400, 100),
        output_tokens=rng.integers(1, 40, 100),
        priority=np.zeros(100, dtype=np.int64),
        rate_rps=200.0,
    )
    prepared = prepare(resolve(Deployment.parse({**FLEET, "router": name}), "deployment"), LINEAR)
    outcome, again = (simulate(prepared, traffic) for _ in range(2))
    assert np.isfinite(outcome.finished_at).all()
    assert (outcome.first_scheduled_at >= outcome.arrived_at).all()
    assert set(outcome.replica) == set(range(4)), "everybody has work under such a load"
    assert outcome.sampled_tokens == traffic.output_tokens.sum()
    assert outcome.finished_at.tobytes() == again.finished_at.tobytes()
