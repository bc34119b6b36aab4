"""Speed of the shipped path on one core, in CPU seconds: runs at several loads, with and without their metrics, and searches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from search.capacity import measure_capacity, traffic_for
from search.fidelity import SCREEN
from simulator.measure import metrics
from simulator.run import Prepared, saturated_rate, simulate
from simulator.spec.workload import Workload
from simulator.traffic import Traffic
from tests.benchmarks.entry import Entry
from tests.benchmarks.timing import CHAT, SLO, prepared, seconds

LOADS = (10, 40, 70, 100)
REQUESTS = 50_000
# Four thousand tokens on average after prompts of three hundred.
LONG_OUTPUTS = Workload.parse(
    {
        "prompt_tokens": {"lognormal": {"median": 230, "sigma": 0.73, "max": 4096}},
        "output_tokens": {"lognormal": {"median": 3100, "sigma": 0.73, "max": 16384}},
    }
)
LONG_REQUESTS = 10_000
# As deployments are screened, with twice as many requests.
SEARCH = replace(SCREEN, requests=2_000)


def entries() -> Iterator[Entry]:
    """Yields requests a CPU second by load, outputs, replicas and pipeline stages, and capacity searches a CPU minute."""
    one, chat = prepared(), traffic_for(CHAT, REQUESTS, 0)
    saturated = saturated_rate(one, traffic_for(CHAT, 5_000, 0))
    for load in LOADS:
        yield rate_of(f"load_{load}", one, chat, saturated * load / 100)
    for load in (70, 100):
        yield with_metrics(f"load_{load}_with_metrics", one, chat, saturated * load / 100)
    long = traffic_for(LONG_OUTPUTS, LONG_REQUESTS, 0)
    saturated_long = saturated_rate(one, traffic_for(LONG_OUTPUTS, 2_000, 0))
    for load in LOADS:
        yield rate_of(f"outputs_4000_load_{load}", one, long, saturated_long * load / 100)
    fleet = prepared(replicas=8)
    yield rate_of("replicas_8", fleet, chat, 8 * saturated * 0.7)
    yield rate_of("replicas_8_by_load", prepared(replicas=8, router="least_outstanding"), chat, 8 * saturated * 0.7)
    stages = prepared(pipeline_parallel_size=4)
    yield rate_of("pipeline_4", stages, chat, saturated_rate(stages, traffic_for(CHAT, 5_000, 0)) * 0.7)
    yield Entry("capacity_searches_per_minute", 60 / seconds(lambda: search(())), "searches/CPU min")
    yield Entry("capacity_curves_per_minute", 60 / seconds(lambda: search(None)), "searches/CPU min")


def search(fractions: tuple[float, ...] | None) -> object:
    """Returns a capacity, found as trials are screened: without a curve, or with one (None) where latencies are objectives."""
    if fractions is None:
        return measure_capacity(prepared(), CHAT, SLO, SEARCH)
    return measure_capacity(prepared(), CHAT, SLO, SEARCH, fractions=fractions)


def rate_of(name: str, deployment: Prepared, traffic: Traffic, rate_rps: float | None) -> Entry:
    """Returns the requests that a CPU second simulates."""
    taken = seconds(lambda: simulate(deployment, traffic, rate_rps))
    return Entry(f"requests_per_cpu_s_{name}", len(traffic) / taken, "requests/CPU s")


def with_metrics(name: str, deployment: Prepared, traffic: Traffic, rate_rps: float) -> Entry:
    """Returns the requests that a CPU second simulates and measures."""
    taken = seconds(lambda: metrics(simulate(deployment, traffic, rate_rps), deployment, SLO))
    return Entry(f"requests_per_cpu_s_{name}", len(traffic) / taken, "requests/CPU s")
