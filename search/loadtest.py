"""A trial's claim as something that can be tried: a script that sends the study's workload at the published rate to a server.

The script holds its scenario, so that it needs nothing but `trimtab load`, and prints what was measured beside what was expected.
"""

from __future__ import annotations

import math
import shlex
from typing import Any

import yaml

from db.session import Store
from search import launch, uploads
from simulator.errors import Infeasible
from simulator.spec.workload import Workload

FILE = "load-test.sh"
# Traffic of five minutes: what a mean and a p99 at a steady load are read from.
LASTS_S, LEAST_REQUESTS = 300.0, 200
EXPECTED = ("ttft_s", "tpot_s", "itl_s", "e2e_s")
STATISTICS = ("mean", "p50", "p90", "p95", "p99")


def script(store: Store, study: str, number: int, port: int = launch.PORT) -> str:
    """Returns a shell script that sends a trial's workload at its best published rate to the server at its argument, by default
    to the one at `port` of this machine.

    Raises InputError for a study or trial that is not there, Infeasible for a trial without a published operating point.
    """
    row, trial, points, deployment = launch.trial_of(store, study, number)
    if not points:
        raise Infeasible(f"trial {number} of study {row.id} has no published operating point to reproduce")
    best = launch.best_of(points)
    workload = Workload.parse(row.request["workload"], "workload")
    uploads.fetch(store, workload)
    rate = best.point.rate_rps
    scenario = {
        "deployment": {"model": deployment.model, "block_size": deployment.block_size},
        "workload": _sent(workload, rate),
        "slo": dict(row.request["slo"]),
        "expected": _expected(best.point.metrics),
    }
    asked = " ".join((f"trimtab launch {row.id} {number} --load-test", *launch.given(None, port)))
    told = [asked, "", *launch.told(row, trial, points, deployment), ""]
    told += [f"sends {rate:.4g} requests per second to the whole fleet at URL, by default the first replica of this machine;"]
    told += [f"{FILE} [URL] [OPTIONS of trimtab load]"]
    head = "\n".join(f"# {launch.in_a_comment(line)}".rstrip() for line in told)
    body = yaml.safe_dump(scenario, sort_keys=False, width=120)
    end = "SCENARIO"
    while end in body:
        end += "_"
    return (
        f"#!/bin/sh\n{head}\nset -eu\nurl=${{1:-http://127.0.0.1:{port}}}\n[ $# -eq 0 ] || shift\n"
        "folder=$(mktemp -d)\ntrap 'rm -rf \"$folder\"' EXIT\n"
        f"cat > \"$folder/scenario.yaml\" <<'{end}'\n{body}{end}\n"
        f'trimtab load "$folder/scenario.yaml" --url "$url" --model {shlex.quote(deployment.model)} "$@"\n'
    )


def _sent(workload: Workload, rate: float) -> dict[str, Any]:
    """Returns the workload as it is sent: at the rate, for as long as its figures need."""
    sent = workload.model_dump(mode="json", exclude_none=True)
    return {**sent, "rate_rps": rate, "num_requests": max(LEAST_REQUESTS, math.ceil(rate * LASTS_S))}


def _expected(metrics: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Returns the latencies that the trial's point has."""
    found = {name: metrics.get(name) or {} for name in EXPECTED}
    return {name: {key: each[key] for key in STATISTICS if each.get(key) is not None} for name, each in found.items() if each}
