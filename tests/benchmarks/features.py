"""Speed with each feature on, in requests a CPU second of one core: what leaves the fast path, and by how much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from search.capacity import traffic_for
from search.predict import predict
from simulator.run import Prepared
from simulator.spec.workload import Workload
from simulator.traffic import Traffic
from tests.benchmarks.entry import Entry
from tests.benchmarks.speed import rate_of
from tests.benchmarks.timing import CHAT, prepared

REQUESTS = 20_000
LOAD = 0.7
KNOBS: Mapping[str, Mapping[str, Any]] = {
    "async": {"async_scheduling": True},
    "sync": {"async_scheduling": False},
    "detokenizer": {"detokenize_s_per_token": 2e-5},
    "priority": {"scheduling_policy": "priority"},
    "sarathi_serve": {"scheduler": "sarathi_serve", "max_num_batched_tokens": 1024},
    "vllm_v0": {"scheduler": "vllm_v0", "async_scheduling": False},
    "sglang": {"scheduler": "sglang"},
}
SESSIONS = Workload.parse({"preset": "chat_sessions"})
CLASSES = Workload.parse({"preset": "chat", "classes": {"live": {"share": 0.7}, "batch": {"share": 0.3, "priority": 1}}})
USERS = Workload.parse({"preset": "chat", "users": 200, "think_time_s": {"exponential": {"mean": 10.0}}})


def entries() -> Iterator[Entry]:
    """Yields requests a CPU second at 70 % load with one feature each."""
    chat = traffic_for(CHAT, REQUESTS, 0)
    for name, knobs in KNOBS.items():
        yield loaded(name, prepared(**knobs), chat)
    one = prepared()
    yield loaded("plain", replace(one, limits=replace(one.limits, counters=False, leaps=False)), chat)
    yield loaded("data_parallel_4", in_step(prepared(data_parallel_size=4)), chat)
    yield loaded("classes", prepared(scheduling_policy="priority"), traffic_for(CLASSES, REQUESTS, 0))
    yield loaded("prefix_cache", prepared(enable_prefix_caching=True), traffic_for(SESSIONS, REQUESTS, 0))
    yield rate_of("closed_loop", one, traffic_for(USERS, REQUESTS, 0), None)


def in_step(deployment: Prepared) -> Prepared:
    """Returns the deployment with the engines of a replica in step, as those of a mixture of experts are."""
    group = deployment.deployment.data_parallel_size
    return replace(deployment, limits=replace(deployment.limits, group=group))


def loaded(name: str, deployment: Prepared, traffic: Traffic) -> Entry:
    """Returns the speed at a share of the load that the price list foretells to saturate the deployment."""
    return rate_of(name, deployment, traffic, LOAD * predict(deployment, traffic, 1).rate_rps)
