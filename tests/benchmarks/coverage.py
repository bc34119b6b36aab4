"""Does the interval of `trimtab capacity` hold what it promises? Run `python -m tests.benchmarks.coverage`, about ten minutes.

Forty intervals, each from seeds of its own, are put beside capacities that single runs found with other seeds. What an
interval promises is to hold that of a run twice as long as its own, 95 times of a hundred: a run just as long a little
less often, the mean of many a little more often.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.capacity import CHECK, Estimate, measure_capacity
from search.fidelity import ANSWER, Fidelity
from search.service import run_capacity
from simulator.resolve import resolve
from simulator.run import prepare
from simulator.scenario import Scenario
from simulator.spec.slo import Slo

DEPLOYMENT = {"model": "meta-llama/Llama-3.1-8B", "device": "H100-SXM"}
SLO = {"ttft_p99_s": 2.0, "itl_p99_s": 0.2}
RUN = ANSWER.requests
# Far from the seeds of the intervals, which are 0, 1, 2, ... and whole strides beyond.
FIRST_LONG_SEED = 500_000


@dataclass(frozen=True)
class Coverage:
    """Which share of intervals holds a truth: over all truths, and for the one held least and most often."""

    mean: float
    least: float
    most: float


def intervals(seeds: int, first: int = 0) -> list[Estimate]:
    """Returns what `trimtab capacity` answers for that many seeds."""
    found = []
    for seed in range(first, first + seeds):
        began = time.monotonic()
        scenario = Scenario.parse({"deployment": DEPLOYMENT, "workload": {"preset": "chat", "seed": seed}, "slo": SLO})
        estimate = Estimate(**run_capacity(scenario)["capacity_rps"])
        found.append(estimate)
        print(
            f"seed {seed}: {estimate.value:.3f} req/s [{estimate.low:.3f}, {estimate.high:.3f}], "
            f"{100 * width(estimate):.2f} % wide, {time.monotonic() - began:.1f} s",
            file=sys.stderr,
            flush=True,
        )
    return found


def single_runs(count: int, requests: int) -> NDArray[np.float64]:
    """Returns the capacities that `count` single runs of so many requests find, each with a seed of its own."""
    scenario = Scenario.parse({"deployment": DEPLOYMENT, "workload": {"preset": "chat"}, "slo": SLO})
    prepared = prepare(resolve(scenario.deployment, "deployment"))
    one = Fidelity(requests=requests, seeds=1, tolerance=0.002, spread=0.0, latency_spread=0.0)
    found = [
        measure_capacity(prepared, scenario.workload, Slo.parse(SLO), one, FIRST_LONG_SEED + place, fractions=())
        for place in range(count)
    ]
    return np.array([capacity.rate_rps.value for capacity in found])


def width(estimate: Estimate) -> float:
    """Returns the whole width of an interval as a share of its value."""
    return (estimate.high - estimate.low) / estimate.value


def coverage(found: list[Estimate], truths: NDArray[np.float64]) -> Coverage:
    """Returns which share of the intervals holds each truth."""
    low, high = np.array([e.low for e in found]), np.array([e.high for e in found])
    held = ((low[:, None] <= truths[None, :]) & (truths[None, :] <= high[:, None])).mean(axis=0)
    return Coverage(float(held.mean()), float(held.min()), float(held.max()))


def main() -> None:
    """Prints how often intervals hold the capacity of long runs, and how wide they are."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=40, help="how many intervals (40)")
    parser.add_argument("--truths", type=int, default=20, help="how many single runs of each length (20)")
    parser.add_argument("--first", type=int, default=0, help="first seed of the intervals (0)")
    given = parser.parse_args()
    truths = {requests: single_runs(given.truths, requests) for requests in (RUN, CHECK * RUN)}
    for requests, found in truths.items():
        scatter = 100 * found.std(ddof=1) / found.mean()
        print(
            f"{len(found)} single runs of {requests:,} requests: mean {found.mean():.3f} req/s, a run scatters by {scatter:.2f} %"
        )
    estimates = intervals(given.seeds, given.first)
    print(f"{given.seeds} intervals of {100 * estimates[0].level:g} % hold, times of a hundred:")
    for requests, found in truths.items():
        held = coverage(estimates, found)
        by_run = f"{100 * held.least:.1f} to {100 * held.most:.1f} by run"
        print(f"  {100 * held.mean:.1f}  the capacity of a single run of {requests:,} requests ({by_run})")
        held = coverage(estimates, found.mean(keepdims=True))
        print(f"  {100 * held.mean:.1f}  the mean of {len(found)} such runs")
    widths = [width(estimate) for estimate in estimates]
    print(f"they are {100 * np.mean(widths):.2f} % wide on average, {100 * max(widths):.2f} % at most")


if __name__ == "__main__":
    main()
