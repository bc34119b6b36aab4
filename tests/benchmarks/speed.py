"""Speed of the shipped path on one core, in CPU seconds: a run with its metrics, and a whole capacity search."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cache
from statistics import median
from typing import Any

from search.capacity import measure_capacity, traffic_for
from search.fidelity import Fidelity
from simulator.measure import metrics
from simulator.resolve import resolve
from simulator.run import Prepared, prepare, saturated_rate, simulate
from simulator.spec.deployment import Deployment
from simulator.spec.slo import Slo
from simulator.spec.workload import Workload
from tests.benchmarks.entry import Entry

CHAT = Workload.parse({"preset": "chat"})
SLO = Slo.parse({"ttft_p99_s": 2.0, "itl_p99_s": 0.2})
LOADS = (10, 70, 100)
REQUESTS = 50_000
SEARCH = Fidelity(requests=2_000, seeds=1, tolerance=0.01, spread=0.0, latency_spread=0.0)
REPEATS = 5


@cache
def prepared(device: str = "H100-SXM", tensor_parallel_size: int = 1, **knobs: Any) -> Prepared:
    """Returns a deployment of Llama-3.1-8B with the engine's defaults."""
    chosen = {"model": "meta-llama/Llama-3.1-8B", "device": device, "tensor_parallel_size": tensor_parallel_size, **knobs}
    return prepare(resolve(Deployment.parse(chosen)))


def entries() -> Iterator[Entry]:
    """Yields requests a CPU second at several loads, and capacity searches a CPU minute."""
    deployment, traffic = prepared(), traffic_for(CHAT, REQUESTS, 0)
    saturated = saturated_rate(deployment, traffic_for(CHAT, 5_000, 0))
    for load in LOADS:
        rate = saturated * load / 100
        taken = seconds(lambda rate=rate: metrics(simulate(deployment, traffic, rate), deployment, SLO))  # type: ignore[misc]
        yield Entry(f"requests_per_cpu_s_load_{load}", REQUESTS / taken, "requests/CPU s")
    taken = seconds(lambda: measure_capacity(deployment, CHAT, SLO, SEARCH))
    yield Entry("capacity_searches_per_minute", 60 / taken, "searches/CPU min")


def seconds(work: Callable[[], object]) -> float:
    """Returns the median of the CPU seconds that the work takes, once it has run to compile and to fill caches."""
    work()
    taken = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return median(taken)
