"""Every file of simulator/schedulers keeps the contract of the folder, and the laws on the fixed scenarios."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from simulator import catalog
from simulator.spec.base import Spec
from tests import naive
from tests.conformance.contract import check, modules, require
from tests.invariants import agreement, laws, step_laws
from tests.invariants.cases import COUNTERS, LEAPS, PLAIN, play, play_naively, with_impatience
from tests.invariants.draws import OPTIONS
from tests.invariants.scenarios import fleets, scenarios
from tests.naive_policies import POLICIES

SCHEDULERS = catalog.names("schedulers")
ATTRIBUTES = {
    "WATERMARK": float,
    "COUNTABLE": bool,
    "WHOLE_PROMPT": bool,
    "CHUNKS": bool,
    "RESERVES": bool,
    "CACHES": bool,
    "OWN_MICRO_BATCH": bool,
}
# Leaps integrate held blocks along a straight line.
LEAPT_BLOCK_SECONDS = 0.05


def test_the_known_ones_are_found_and_the_oracle_knows_them_all() -> None:
    known = {"faster_transformer", "lightllm", "orca", "sarathi", "sarathi_serve", "sglang", "vllm_v0", "vllm_v1"}
    assert known <= set(SCHEDULERS) == set(POLICIES)


@pytest.mark.parametrize(("name", "module"), modules("schedulers"))
def test_it_keeps_the_contract(name: str, module: ModuleType) -> None:
    check(module, ATTRIBUTES, {"schedule": ("config", "replica", "requests", "running", "cache")})
    assert 0 <= module.WATERMARK < 1


@pytest.mark.parametrize(("name", "module"), [pair for pair in modules("schedulers") if hasattr(pair[1], "Options")])
def test_its_options_have_defaults_and_fit_the_kernel(name: str, module: Any) -> None:
    require(issubclass(module.Options, Spec), f"{name}.Options is a Spec")
    for options in ({}, *OPTIONS.get(name, ())):
        encoded = module.encode(module.Options(**options))
        require(len(encoded) <= 8 and all(type(number) is int for number in encoded), f"{name}: at most 8 whole numbers: {encoded}")


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("scenario", scenarios("vllm_v1"))
def test_it_keeps_the_laws_and_counters_decide_the_same(name: str, scenario: str) -> None:
    case = scenarios(name)[scenario]
    played = {}
    for mode in case.modes:
        played[mode], run = play(case, mode)
        laws.all_of_one_run(played[mode], case.knobs(), run.replicas["free_blocks"], case.by_priority)
    if COUNTERS in played:
        agreement.runs_are_equal(played[PLAIN], played[COUNTERS])
        agreement.runs_agree(played[PLAIN], played[LEAPS], LEAPT_BLOCK_SECONDS)


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("scenario", fleets("vllm_v1"))
def test_it_is_the_oracle_in_every_kind_of_fleet(name: str, scenario: str) -> None:
    case = fleets(name)[scenario]
    expected, _ = play_naively(case)
    for mode in case.modes:
        found, run = play(case, mode)
        laws.all_of_any_run(found, case.knobs(), run.replicas["free_blocks"], case.traffic)
        agreement.runs_agree(found, expected, LEAPT_BLOCK_SECONDS if mode == LEAPS else laws.SLACK)
    log = play(case, PLAIN, record=True)[0].steps
    assert log is not None and expected.steps is not None
    step_laws.all_of_one_log(log, case.knobs())
    step_laws.logs_agree(log, expected.steps)


@pytest.mark.parametrize("name", catalog.names("routers"))
def test_behind_any_router_the_engines_are_the_oracles(name: str) -> None:
    case = fleets("vllm_v1")["shared prefixes, tight pool"]
    case = replace(case, replicas=3, router=name, traffic=with_impatience(np.random.default_rng(3), case.traffic))
    found = play(case)[0]
    expected, _ = play_naively(case, routed=None if name in naive.ROUTERS else found.replica)
    agreement.runs_agree(found, expected)
