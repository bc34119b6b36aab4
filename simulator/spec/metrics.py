"""Metrics: the numbers derived from the timestamps of a run. Seconds, requests a second, US dollars.

Of one request:
    TTFT            first token - arrival
    ITL             every gap between two consecutive tokens; `itl_max` is the longest
    TPOT            (finish - first token) / (output tokens - 1): its decode time a token; none for one output token
    E2E             finish - arrival
    queue           first scheduled - arrival
    prefill         first token - first scheduled, and that over its prompt tokens
    decode          finish - first token
    preempted       time between being preempted and being admitted again
    execution       finish - first scheduled - preempted
    bubble          idle time of pipeline stages between its micro-batches, a stage on average

Percentiles are nearest-rank, over requests; for ITL over tokens, for batches over iterations. Latencies are those of
finished requests, TTFT and ITL of all tokens that were seen. Against an Slo a rejected request, and one that its deadline
dropped, is infinitely slow, and so are the gaps that it did not see; one that its user cancelled counts with what it saw.
Bounds on ITL hold over the tokens of all classes together.

Of the run, from the first arrival to the last finish:
    goodput         finished requests that keep every per-request limit, a second
    restarted       requests that were preempted at least once
    cached share    prompt tokens found in the prefix cache at the first admission, over all prompt tokens
    KV utilization  blocks in use over all blocks, weighted by the time of iterations; its peak is the fullest engine's
    busy share      time in iterations, over all stages of all engines
    MFU             model FLOPs of all scheduled tokens over what the GPUs could have done
    bandwidth       weights once a micro-batch and the KV that attention read, over what the memory could have moved
    completions     finished requests in equal parts of the run
"""

from __future__ import annotations

from pydantic import Field

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


class StageUse(Spec):
    """How much of its time and of its GPUs' rates one pipeline stage used, over all engines; None where a rate is not known."""

    busy_share: float
    mfu: float | None
    bandwidth_utilization: float | None


class Completions(Spec):
    """Finished requests by time: counts[k] between k and k + 1 times `bin_s` after the first arrival."""

    bin_s: float
    counts: tuple[int, ...] = Field(strict=False)


class ClassMetrics(Spec):
    """What the requests of one class saw; `slo_met` and goodput are None without an Slo."""

    requests: int
    rejected: int
    cancelled: int
    expired: int
    ttft_s: Distribution
    tpot_s: Distribution
    itl_max_s: Distribution
    e2e_s: Distribution
    queue_s: Distribution
    goodput_rps: float | None
    slo_met: bool | None


class Metrics(Spec):
    """What a run showed; dollars are None without a price book, `slo_met` and goodput without an Slo.

    Fields with a default were not always there: None in what was stored before them.
    """

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
    prefill_s: Distribution | None = None
    prefill_per_token_s: Distribution | None = None
    decode_s: Distribution | None = None
    execution_s: Distribution | None = None
    preempted_s: Distribution | None = None
    bubble_s: Distribution | None = None
    batch_size: Distribution | None = None
    batch_tokens: Distribution | None = None
    cancelled: int | None = None
    expired: int | None = None
    restarted_requests: int | None = None
    cached_token_share: float | None = None
    kv_utilization_peak: float | None = None
    busy_share: float | None = None
    bandwidth_utilization: float | None = None
    stages: tuple[StageUse, ...] | None = Field(default=None, strict=False)
    completions: Completions | None = None
    classes: dict[str, ClassMetrics] | None = None
