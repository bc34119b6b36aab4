"""Simulations and capacities: short questions about one deployment, answered while the caller waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from search import answers, uploads
from search.api import models
from search.api.access import require
from search.api.bodies import ScenarioBody, parsed
from search.api.errors import Refused, documented
from search.api.state import Limits, Opened, Service, answer
from search.bounded import Full, TooLong
from search.fidelity import ANSWER
from simulator.draw import DEFAULT_REQUESTS
from simulator.errors import InputError
from simulator.scenario import Scenario

router = APIRouter(tags=["simulations"], dependencies=[Depends(require("read"))])
RESPONSES = documented(400, 401, 403, 413, 422, 429, 503)


@router.post("/simulate", response_model=models.Simulation, responses=RESPONSES)
def simulate(body: ScenarioBody, service: Opened) -> Response:
    """One deployment under one workload: the document of `trimtab simulate --json`."""
    return _answered(body, service, DEFAULT_REQUESTS, simulation)


@router.post("/capacity", response_model=models.CapacityFound, responses=RESPONSES)
def capacity(body: ScenarioBody, service: Opened) -> Response:
    """The highest rate within the SLO, with an interval: the document of `trimtab capacity --json`."""
    return _answered(body, service, ANSWER.requests, answers.run_capacity)


def simulation(scenario: Scenario) -> dict[str, Any]:
    """Returns the document of one run."""
    return answers.run_simulation(scenario).document


def _answered(body: dict[str, Any], service: Service, default: int, work: Callable[[Scenario], dict[str, Any]]) -> Response:
    scenario = parsed(Scenario, body)
    check(scenario, service.limits, default)
    uploads.fetch(service.store, scenario.workload)
    scenario.price_book()
    try:
        return answer(service.bounded.call(work, scenario))
    except Full:
        raise Refused(503, "as many simulations as are run at once are running; Retry-After says when to try again") from None
    except TooLong:
        allowed = f"what is answered within {service.limits.wall_s:g} s; a search as a study has no such limit"
        raise InputError("workload.num_requests", scenario.workload.num_requests or default, allowed) from None


def check(scenario: Scenario, limits: Limits, default: int) -> None:
    """Raises InputError for a scenario that is larger than one that is answered while the caller waits."""
    workload, deployment = scenario.workload, scenario.deployment
    count = workload.num_requests or default
    if count > limits.num_requests:
        raise InputError("workload.num_requests", count, f"at most {limits.num_requests:,}")
    if workload.users is not None and workload.users > limits.users:
        raise InputError("workload.users", workload.users, f"at most {limits.users:,}")
    if deployment.gpus > limits.gpus:
        raise InputError("deployment.replicas", deployment.replicas, f"fleets of at most {limits.gpus:,} GPUs")
    for knob, most in MOST.items():
        value = getattr(deployment, knob)
        if value is not None and value > most:
            raise InputError(f"deployment.{knob}", value, f"at most {most:,}")


# Beyond what any engine takes; arrays of the kernel are as long.
MOST = {"max_num_seqs": 65_536, "max_num_batched_tokens": 2**20, "max_model_len": 2**24, "num_gpu_blocks_override": 2**24}
