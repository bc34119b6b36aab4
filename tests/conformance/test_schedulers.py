"""Every file of simulator/schedulers keeps the contract of the folder, and the laws on the fixed scenarios."""

from __future__ import annotations

from types import ModuleType

import pytest

from simulator import catalog
from tests.conformance.contract import check, modules
from tests.invariants import laws
from tests.invariants.cases import COUNTERS, LEAPS, PLAIN, play
from tests.invariants.scenarios import scenarios

SCHEDULERS = catalog.names("schedulers")
ATTRIBUTES = {"WATERMARK": float, "COUNTABLE": bool, "WHOLE_PROMPT": bool}
# Leaps integrate held blocks along a straight line.
LEAPT_BLOCK_SECONDS = 0.05


def test_the_known_ones_are_found() -> None:
    assert {"vllm_v1", "sarathi_serve"} <= set(SCHEDULERS)


@pytest.mark.parametrize(("name", "module"), modules("schedulers"))
def test_it_keeps_the_contract(name: str, module: ModuleType) -> None:
    check(module, ATTRIBUTES, {"schedule": ("config", "replica", "requests", "running")})
    assert 0 <= module.WATERMARK < 1


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("scenario", scenarios("vllm_v1"))
def test_it_keeps_the_laws_and_counters_decide_the_same(name: str, scenario: str) -> None:
    case = scenarios(name)[scenario]
    played = {}
    for mode in case.modes:
        played[mode], run = play(case, mode)
        laws.all_of_one_run(played[mode], case.knobs(), run.replicas["free_blocks"], case.by_priority)
    if COUNTERS in played:
        laws.runs_are_equal(played[PLAIN], played[COUNTERS])
        laws.runs_agree(played[PLAIN], played[LEAPS], LEAPT_BLOCK_SECONDS)
