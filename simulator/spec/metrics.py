"""Metrics: the numbers derived from the timestamps of a run. Seconds, requests a second, US dollars.

TTFT is first token minus arrival. ITL is every gap between consecutive tokens of a request. TPOT is (finish minus
first token) / (output tokens minus 1), one number a request. E2E is finish minus arrival. Queue is first scheduled
minus arrival. Percentiles are nearest-rank, over requests; for ITL over tokens.
"""

from __future__ import annotations

from simulator.spec.base import Spec

STATISTICS = ("mean", "p50", "p90", "p95", "p99", "max")


class Distribution(Spec):
    """Mean, nearest-rank percentiles and maximum; all None when there is nothing to measure."""

    mean: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    max: float | None

    def get(self, statistic: str) -> float | None:
        """Returns the statistic named `mean`, `p50`, `p90`, `p95`, `p99` or `max`."""
        value: float | None = getattr(self, statistic)
        return value


class Metrics(Spec):
    """What a run showed; dollars are None without a price book, `slo_met` and goodput without an Slo."""

    ttft_s: Distribution
    tpot_s: Distribution
    itl_s: Distribution
    itl_max_s: Distribution
    e2e_s: Distribution
    queue_s: Distribution
    requests: int
    rejected: int
    single_token_requests: int
    duration_s: float
    request_throughput_rps: float
    output_token_throughput_tps: float
    total_token_throughput_tps: float
    goodput_rps: float | None
    slo_met: bool | None
    iterations: int
    mean_batch_size: float
    preemptions: int
    kv_blocks: int
    kv_utilization: float
    mfu: float | None
    gpus: int
    usd_per_hour: float | None
    usd_per_million_output_tokens: float | None
    usd_per_million_tokens: float | None
