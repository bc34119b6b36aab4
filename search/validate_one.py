"""Validation of one scenario: nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from profiler.validating import Load, Run
from search.validation import SEED, Server, item, job_of, one_replica, result_of, run_job
from simulator.draw import draw
from simulator.errors import InputError
from simulator.resolve import resolve
from simulator.run import SATURATION_REQUESTS, prepare, saturated_rate
from simulator.scenario import Scenario


def validate_scenario(scenario: Scenario, server: Server, shares: Sequence[float], requests: int) -> dict[str, Any]:
    """Returns one comparison a load: shares of the rate that saturates one replica or, with users, the users' own pace."""
    deployment = one_replica(resolve(scenario.deployment))
    prepared = prepare(deployment, scenario.profiles)
    workload = scenario.workload
    if workload.users is not None:
        raise InputError("workload.users", workload.users, "an open workload: users in a closed loop have no share of a capacity")
    saturated = saturated_rate(prepared, draw(workload, min(SATURATION_REQUESTS, 10 * requests), SEED))
    loads = [Load(share, share * saturated) for share in shares]
    runs: list[Run] = []
    run_job(job_of(prepared, workload, server, loads, requests), deployment, server, runs.append)
    items = [item(result_of(run, server.engine, deployment.device)) for run in runs]
    return {"deployment": deployment.model_dump(mode="json"), "saturated_rps": saturated, "items": items}
