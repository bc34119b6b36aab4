"""Does the interval of `trimtab capacity` hold what it promises? Run `python -m tests.benchmarks.coverage`, about ten minutes.

Forty intervals, each from seeds of its own, are put beside capacities that single long runs found with other seeds, and
beside the mean of these. The interval promises the first 95 times of a hundred, and more often the second.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.capacity import Estimate, measure_capacity
from search.fidelity import Fidelity
from search.service import run_capacity
from simulator.resolve import resolve
from simulator.run import prepare
from simulator.scenario import Scenario
from simulator.spec.slo import Slo

DEPLOYMENT = {"model": "meta-llama/Llama-3.1-8B", "device": "H100-SXM"}
SLO = {"ttft_p99_s": 2.0, "itl_p99_s": 0.2}
LONG_RUN = 200_000
# Far from the seeds of the intervals, which are 0, 1, 2, ... and whole strides beyond.
FIRST_LONG_SEED = 500_000


@dataclass(frozen=True)
class Coverage:
    """Shares of intervals that hold a single long run's capacity (mean, worst and best run) and that of their mean."""

    single: float
    single_worst: float
    single_best: float
    mean: float
    widest: float
    mean_width: float


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


def long_runs(count: int, requests: int = LONG_RUN) -> NDArray[np.float64]:
    """Returns the capacities that `count` single runs of so many requests find, each with a seed of its own."""
    scenario = Scenario.parse({"deployment": DEPLOYMENT, "workload": {"preset": "chat"}, "slo": SLO})
    prepared = prepare(resolve(scenario.deployment, "deployment"))
    one = Fidelity(requests=requests, seeds=1, tolerance=0.001, spread=0.0, latency_spread=0.0)
    found = [
        measure_capacity(prepared, scenario.workload, Slo.parse(SLO), one, FIRST_LONG_SEED + place, fractions=(0.9,))
        for place in range(count)
    ]
    return np.array([capacity.rate_rps.value for capacity in found])


def width(estimate: Estimate) -> float:
    """Returns the whole width of an interval as a share of its value."""
    return (estimate.high - estimate.low) / estimate.value


def coverage(found: list[Estimate], truths: NDArray[np.float64]) -> Coverage:
    """Returns which share of the intervals holds each truth."""
    low, high = np.array([e.low for e in found]), np.array([e.high for e in found])
    holds = (low[:, None] <= truths[None, :]) & (truths[None, :] <= high[:, None])
    by_truth = holds.mean(axis=0)
    mean = float(truths.mean())
    widths = [width(estimate) for estimate in found]
    return Coverage(
        single=float(holds.mean()),
        single_worst=float(by_truth.min()),
        single_best=float(by_truth.max()),
        mean=float(((low <= mean) & (mean <= high)).mean()),
        widest=max(widths),
        mean_width=float(np.mean(widths)),
    )


def main() -> None:
    """Prints how often intervals hold the capacity of long runs, and how wide they are."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=40, help="how many intervals (40)")
    parser.add_argument("--truths", type=int, default=20, help=f"how many runs of {LONG_RUN:,} requests (20)")
    parser.add_argument("--first", type=int, default=0, help="first seed of the intervals (0)")
    given = parser.parse_args()
    truths = long_runs(given.truths)
    scatter = truths.std(ddof=1) / truths.mean()
    print(f"{len(truths)} runs of {LONG_RUN:,} requests: mean {truths.mean():.3f} req/s, a run scatters by {100 * scatter:.2f} %")
    found = intervals(given.seeds, given.first)
    measured = coverage(found, truths)
    print(f"{given.seeds} intervals of {100 * found[0].level:g} %:")
    print(
        f"  hold the capacity of a single long run {100 * measured.single:.1f} times of a hundred "
        f"({100 * measured.single_worst:.1f} to {100 * measured.single_best:.1f} by run)"
    )
    print(f"  hold the mean of the long runs {100 * measured.mean:.1f} times of a hundred")
    print(f"  are {100 * measured.mean_width:.2f} % wide on average, {100 * measured.widest:.2f} % at most")


if __name__ == "__main__":
    main()
