"""A closer look at one operating point: simulated once more, with its steps, for what a study does not store.

The run is shorter than those that a capacity is published from: it shows how the deployment behaves, not how much it serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.capacity import traffic_for
from simulator.expected.shares import shares
from simulator.measure import metrics
from simulator.measure.latencies import latencies
from simulator.outcome import Outcome, StepLog
from simulator.run import prepare, simulate
from simulator.spec.deployment import Resolved
from simulator.spec.slo import Slo
from simulator.spec.workload import Workload

REQUESTS = 3_000
WINDOW_S = 60.0
MOST_STEPS = 6_000
# Points of a distribution that a chart can still show apart.
SHARES = np.array([*np.linspace(0.0, 0.98, 99), *np.linspace(0.981, 1.0, 39)])
Floats = NDArray[np.float64]
Document = dict[str, Any]


def look(request: Mapping[str, Any], deployment: Mapping[str, Any], rate_rps: float, seed: int) -> Document:
    """Returns a run of a study's workload on one of its deployments: distributions, time by operator, one minute of steps.

    `distributions` holds for TTFT, TPOT, ITL and E2E the shares of requests (ITL: of gaps) and the seconds that they take
    at most; `steps` the columns of the steps of engine 0 that begin within the minute from the middle of the arrivals on,
    `from_s` and `left_out` what was cut. Raises InputError or Infeasible.
    """
    workload, resolved = Workload.parse(request["workload"], "workload"), Resolved.parse(deployment, "deployment")
    profiles = request.get("profiles")
    prepared = prepare(resolved, profiles)
    traffic = traffic_for(workload, REQUESTS, seed)
    outcome = simulate(prepared, traffic, rate_rps, record_steps=True)
    slo = Slo.parse(request["slo"]) if request.get("slo") else None
    assert outcome.steps is not None, "asked for"
    return {
        "rate_rps": rate_rps,
        "requests": REQUESTS,
        "metrics": metrics(outcome, prepared, slo).model_dump(mode="json"),
        "distributions": distributions(outcome),
        "shares": [{"operator": s.operator, "source": s.source, "share": s.share} for s in shares(prepared, outcome)],
        "steps": minute(outcome.steps, float(np.median(outcome.arrived_at))),
    }


def distributions(outcome: Outcome) -> dict[str, Document]:
    """Returns by latency the shares, ascending, and the seconds within which so large a share lies."""
    every = latencies(outcome)
    found = {name: every[f"{name}_s"][np.isfinite(every[f"{name}_s"])] for name in ("ttft", "tpot", "e2e")}
    told = {name: _quantiles(values) for name, values in found.items() if len(values)}
    upto = np.cumsum(outcome.gap_count)
    if len(upto) and upto[-1] > 0:
        places = np.minimum(np.searchsorted(upto, SHARES * upto[-1]), len(upto) - 1)
        told["itl"] = {"shares": SHARES.tolist(), "seconds": (outcome.gap_sum[places] / outcome.gap_count[places]).tolist()}
    return told


def _quantiles(values: Floats) -> Document:
    ordered = np.sort(values)
    places = np.minimum((SHARES * len(ordered)).astype(np.int64), len(ordered) - 1)
    return {"shares": SHARES.tolist(), "seconds": ordered[places].tolist()}


def minute(log: StepLog, middle_s: float) -> Document:
    """Returns the steps of engine 0 that begin in the minute from `middle_s` on, as columns; times count from its beginning."""
    steps = log.steps[log.steps["engine"] == 0]
    begins = min(middle_s, max(float(steps["start_s"].max()) - WINDOW_S, 0.0)) if len(steps) else 0.0
    within = steps[(steps["start_s"] >= begins) & (steps["start_s"] < begins + WINDOW_S)]
    kept = within[:MOST_STEPS]
    whole = {
        name: kept[name].tolist() for name in ("tokens", "kv_tokens", "scheduled", "num_running", "num_waiting", "free_blocks")
    }
    times = {name: (kept[name] - begins).tolist() for name in ("start_s", "end_s")}
    return {**times, **whole, "from_s": begins, "left_out": len(within) - len(kept)}
