"""CPU seconds of a piece of work, and the deployments and workloads that speed is measured on."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from statistics import median
from typing import Any

from simulator.resolve import resolve
from simulator.run import Prepared, prepare
from simulator.spec.deployment import Deployment
from simulator.spec.slo import Slo
from simulator.spec.workload import Workload

CHAT = Workload.parse({"preset": "chat"})
SLO = Slo.parse({"ttft_p99_s": 2.0, "itl_p99_s": 0.2})
REPEATS = 5


@cache
def prepared(device: str = "H100-SXM", tensor_parallel_size: int = 1, **knobs: Any) -> Prepared:
    """Returns a deployment of Llama-3.1-8B, or of another `model`, with the engine's defaults."""
    chosen = {"model": "meta-llama/Llama-3.1-8B", "device": device, "tensor_parallel_size": tensor_parallel_size, **knobs}
    return prepare(resolve(Deployment.parse(chosen)))


def seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Returns the median of the CPU seconds that the work takes, once it has run to compile and to fill caches."""
    work()
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return median(taken)
