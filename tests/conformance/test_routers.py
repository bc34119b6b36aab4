"""Every file of simulator/routers keeps the contract of the folder."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from simulator import catalog
from simulator.kernel import engine
from simulator.kernel.records import REPLICA, REQUEST
from tests.conformance.contract import check, modules, python_function
from tests.invariants import laws
from tests.invariants.cases import PLAIN, prepared_for
from tests.invariants.scenarios import scenarios

ROUTERS = modules("routers")


def test_the_known_ones_are_found() -> None:
    assert "round_robin" in catalog.names("routers")


@pytest.mark.parametrize(("name", "module"), ROUTERS)
def test_it_keeps_the_contract(name: str, module: ModuleType) -> None:
    check(module, {"IGNORES_STATE": bool}, {"route": ("state", "replicas", "requests", "request")})


def routed(route: Any, replicas: Any, count: int = 40) -> list[int]:
    """Returns where a router sends requests in turn, from a state of its own."""
    state, requests = np.zeros(8, dtype=np.int64), np.zeros(count, dtype=REQUEST).view(np.recarray)
    return [int(python_function(route)(state, replicas, requests, i)) for i in range(count)]


def fleet(seed: int, count: int = 5) -> Any:
    """Returns replicas of any load."""
    replicas = np.zeros(count, dtype=REPLICA)
    rng = np.random.default_rng(seed)
    for field in ("num_running", "num_waiting", "free_blocks", "decodes", "kv_sum"):
        replicas[field] = rng.integers(0, 100, count)
    replicas["total_blocks"] = 100
    return replicas.view(np.recarray)


@pytest.mark.parametrize(("name", "module"), ROUTERS)
@pytest.mark.parametrize("replicas", [1, 2, 5])
def test_it_returns_a_replica_and_the_same_one_again(name: str, module: ModuleType, replicas: int) -> None:
    chosen = routed(module.route, fleet(1, replicas))
    assert all(0 <= place < replicas for place in chosen)
    assert chosen == routed(module.route, fleet(1, replicas))


@pytest.mark.parametrize(("name", "module"), ROUTERS)
def test_it_ignores_state_where_it_says_so(name: str, module: ModuleType) -> None:
    if module.IGNORES_STATE:
        assert routed(module.route, fleet(1)) == routed(module.route, fleet(2))


@pytest.mark.parametrize(("name", "module"), ROUTERS)
def test_a_fleet_behind_it_keeps_the_laws(name: str, module: ModuleType) -> None:
    case = replace(scenarios("vllm_v1")["fleet"], replicas=4)
    prepared = prepared_for(case, PLAIN)
    run = engine.run(
        prepared.limits, prepared.prices, case.traffic, case.traffic.arrival_s, engine.Fleet(4, prepared.schedule, module.route)
    )
    laws.blocks_are_conserved(run.replicas["free_blocks"], case.kv_blocks)
    assert np.isfinite(run.outcomes["last_token_at"]).all()
    assert set(run.outcomes["replica"]) <= set(range(4))
