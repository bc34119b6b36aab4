"""What a single short run is worth: how far its capacity and its tail latencies lie from those of long runs.

A spread is the share s for which the long runs' value lies within s of the short run's 95 times of a hundred, bias
included: `search/fidelity.py` rules deployments out by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.capacity import FRACTIONS, measure_capacity, traffic_for
from search.fidelity import LEVEL, RESCORE, SCREEN, Fidelity
from simulator.measure import metrics
from simulator.run import Prepared, saturated_rate, simulate
from tests.benchmarks.entry import Entry
from tests.benchmarks.timing import CHAT, SLO, prepared

Floats = NDArray[np.float64]
DEPLOYMENTS = (("H100-SXM", 1), ("L40S", 1), ("A100-80G-SXM", 2))
LONG = Fidelity(requests=100_000, seeds=1, tolerance=0.004, spread=0.0, latency_spread=0.0)
LONG_RUNS = 4
LEVELS = {"screen": (SCREEN, 60), "rescore": (RESCORE, 15)}
FIRST_LONG_SEED = 500_000


@dataclass(frozen=True)
class Found:
    """What runs of one length say of a deployment: capacity[run] and ttft_p99[run, share of the load]."""

    capacity: Floats
    tail: Floats


def entries() -> Iterator[Entry]:
    """Yields bias and spread of the capacity, and spread of the tail latency, at each level."""
    ratios: dict[str, list[Found]] = {name: [] for name in LEVELS}
    for device, tensor_parallel_size in DEPLOYMENTS:
        deployment = prepared(device, tensor_parallel_size)
        saturated = saturated_rate(deployment, traffic_for(CHAT, 5_000, 0))
        long = _found(deployment, saturated, LONG, range(FIRST_LONG_SEED, FIRST_LONG_SEED + LONG_RUNS))
        capacity, tail = long.capacity.mean(), long.tail.mean(axis=0)
        kept = np.array(FRACTIONS) * saturated <= capacity
        for name, (fidelity, runs) in LEVELS.items():
            short = _found(deployment, saturated, fidelity, range(runs))
            ratios[name].append(Found(capacity / short.capacity, (tail / short.tail)[:, kept]))
    for name, found in ratios.items():
        capacities = np.concatenate([each.capacity for each in found])
        tails = np.concatenate([each.tail.ravel() for each in found])
        yield Entry(f"fidelity_{name}_capacity_bias", float(np.mean(1 / capacities)) - 1, "share")
        yield Entry(f"fidelity_{name}_capacity_spread", _spread(capacities), "share")
        yield Entry(f"fidelity_{name}_latency_spread", _spread(tails), "share")


def _found(deployment: Prepared, saturated: float, fidelity: Fidelity, seeds: range) -> Found:
    capacities, tails = [], []
    for seed in seeds:
        found = measure_capacity(deployment, CHAT, SLO, fidelity, seed, fractions=())
        traffic = traffic_for(CHAT, fidelity.requests, seed)
        runs = [metrics(simulate(deployment, traffic, fraction * saturated), deployment) for fraction in FRACTIONS]
        capacities.append(found.rate_rps.value)
        tails.append([run.ttft_s.p99 or np.nan for run in runs])
    return Found(np.array(capacities), np.array(tails))


def _spread(ratios: Floats) -> float:
    """Returns the distance from 1 within which LEVEL of the ratios lie."""
    return float(np.quantile(np.abs(ratios - 1), LEVEL))
