"""Outcome and Slo to Metrics: the one place where a latency is defined (definitions in spec/metrics.py)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from simulator.run import Outcome, Prepared
from simulator.spec.metrics import Distribution, Metrics
from simulator.spec.prices import Bill
from simulator.spec.slo import Bound, Slo

Floats = NDArray[np.float64]
PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
NOTHING = Distribution(mean=None, p50=None, p90=None, p95=None, p99=None, max=None)


def nearest_rank(count: int, share: float) -> int:
    """Returns the zero-based place of a percentile among `count` sorted values: the smallest with enough at or below."""
    # The slack undoes the rounding of products such as 0.95 x 20, which would push the rank one too far.
    return max(math.ceil(share * count - 1e-9), 1) - 1


def distribution(values: Floats) -> Distribution:
    """Returns mean, nearest-rank percentiles and maximum of `values`."""
    if len(values) == 0:
        return NOTHING
    ordered = np.sort(values)
    ranks = {name: float(ordered[nearest_rank(len(ordered), share)]) for name, share in PERCENTILES.items()}
    return Distribution(mean=float(ordered.mean()), max=float(ordered[-1]), **ranks)


def gap_distribution(outcome: Outcome) -> Distribution:
    """Returns the distribution of all inter-token gaps; percentiles are exact to the bins' 0.05 %."""
    total = int(outcome.gap_count.sum())
    if total == 0:
        return NOTHING
    upto = np.cumsum(outcome.gap_count)
    middle = outcome.gap_sum / outcome.gap_count
    ranks = {name: float(middle[np.searchsorted(upto, nearest_rank(total, share) + 1)]) for name, share in PERCENTILES.items()}
    mean = float(outcome.gap_sum.sum() / total)
    return Distribution(mean=mean, max=float(np.max(outcome.itl_max)), **ranks)


def latencies(outcome: Outcome) -> dict[str, Floats]:
    """Returns by name the latencies of the served requests in seconds; TPOT of those with two output tokens or more."""
    served = ~outcome.rejected
    arrived, first, finished = (a[served] for a in (outcome.arrived_at, outcome.first_token_at, outcome.finished_at))
    tokens = outcome.output_tokens[served]
    several = tokens > 1
    return {
        "ttft_s": first - arrived,
        "tpot_s": (finished - first)[several] / (tokens[several] - 1),
        "itl_max_s": outcome.itl_max[served][several],
        "e2e_s": finished - arrived,
        "queue_s": outcome.first_scheduled_at[served] - arrived,
    }


def statistic(outcome: Outcome, bound: Bound, values: dict[str, Floats] | None = None) -> float:
    """Returns the value that a bound limits, in seconds, a rejected request counting as infinitely slow, in a mean too."""
    missing = int(outcome.rejected.sum())
    if bound.metric == "itl_s":
        missing = int((outcome.output_tokens[outcome.rejected] - 1).sum())
        return _ranked_gaps(outcome, bound, missing)
    ordered = (values or latencies(outcome))[bound.metric]
    if bound.metric == "tpot_s":
        missing = int((outcome.output_tokens[outcome.rejected] > 1).sum())
    if len(ordered) + missing == 0:
        return 0.0
    if bound.statistic == "mean":
        return math.inf if missing else float(ordered.mean())
    rank = nearest_rank(len(ordered) + missing, PERCENTILES[bound.statistic])
    return float(np.partition(ordered, rank)[rank]) if rank < len(ordered) else math.inf


def _ranked_gaps(outcome: Outcome, bound: Bound, missing: int) -> float:
    total = int(outcome.gap_count.sum())
    if total + missing == 0:
        return 0.0
    if bound.statistic == "mean":
        return math.inf if missing else float(outcome.gap_sum.sum() / total)
    rank = nearest_rank(total + missing, PERCENTILES[bound.statistic])
    if rank >= total:
        return math.inf
    place = int(np.searchsorted(np.cumsum(outcome.gap_count), rank + 1))
    return float(outcome.gap_sum[place] / outcome.gap_count[place])


def excess(outcome: Outcome, slo: Slo) -> tuple[float, str]:
    """Returns the largest log(value / limit) over the bounds, and which bound it is; at most 0 when all hold."""
    values = latencies(outcome)
    worst, term = -math.inf, ""
    for bound in slo.bounds:
        value = statistic(outcome, bound, values)
        over = math.log(value / bound.limit_s) if 0 < value < math.inf else (math.inf if value > 0 else -math.inf)
        if over > worst or not term:
            worst, term = over, bound.term
    return worst, term


def backlog_growth(outcome: Outcome) -> float:
    """Returns by how many requests the unfinished ones grow while the second half arrives, as a share of that half."""
    served = ~outcome.rejected
    arrived, finished = outcome.arrived_at[served], np.sort(outcome.finished_at[served])
    half = len(arrived) // 2
    if half == 0:
        return 0.0
    middle, end = (int(np.searchsorted(finished, arrived[place], side="right")) for place in (half - 1, len(arrived) - 1))
    return ((len(arrived) - end) - (half - middle)) / (len(arrived) - half)


def good_requests(outcome: Outcome, slo: Slo) -> int:
    """Returns how many served requests keep every per-request limit."""
    served = ~outcome.rejected
    values = {
        "ttft_s": outcome.first_token_at - outcome.arrived_at,
        "tpot_s": (outcome.finished_at - outcome.first_token_at) / np.maximum(outcome.output_tokens - 1, 1),
        "itl_max_s": outcome.itl_max,
        "e2e_s": outcome.finished_at - outcome.arrived_at,
    }
    good = served.copy()
    for name, value in values.items():
        limit = slo.request_limit(name)
        if limit is not None:
            good[served] &= value[served] <= limit
    return int(good.sum())


def metrics(outcome: Outcome, prepared: Prepared, slo: Slo | None = None, bill: Bill | None = None) -> Metrics:
    """Returns the numbers of a run, with dollars when there is a bill and the Slo's verdict when there is one."""
    values = latencies(outcome)
    served = ~outcome.rejected
    count = int(served.sum())
    duration = float(np.nanmax(outcome.finished_at) - outcome.arrived_at.min()) if count else 0.0
    output = int(outcome.output_tokens[served].sum())
    tokens = output + int(outcome.prompt_tokens[served].sum())
    usd = bill.usd_per_hour if bill else None
    peak = prepared.price_list.peak_flops_per_s
    gpus = prepared.deployment.gpus_per_replica * outcome.replicas
    flops = outcome.scheduled_tokens * prepared.price_list.flops_per_token
    return Metrics(
        ttft_s=distribution(values["ttft_s"]),
        tpot_s=distribution(values["tpot_s"]),
        itl_s=gap_distribution(outcome),
        itl_max_s=distribution(values["itl_max_s"]),
        e2e_s=distribution(values["e2e_s"]),
        queue_s=distribution(values["queue_s"]),
        requests=len(outcome.arrived_at),
        rejected=int(outcome.rejected.sum()),
        single_token_requests=int((outcome.output_tokens[served] == 1).sum()),
        duration_s=duration,
        request_throughput_rps=_over(count, duration),
        output_token_throughput_tps=_over(output, duration),
        total_token_throughput_tps=_over(tokens, duration),
        goodput_rps=_over(good_requests(outcome, slo), duration) if slo else None,
        slo_met=excess(outcome, slo)[0] <= 0 if slo else None,
        iterations=outcome.iterations,
        mean_batch_size=_over(outcome.scheduled_requests, outcome.iterations),
        preemptions=int(outcome.preemptions.sum()),
        kv_blocks=outcome.kv_blocks,
        kv_utilization=_over(outcome.block_seconds, outcome.busy_s * outcome.kv_blocks),
        mfu=_over(flops, duration * peak * gpus) if peak else None,
        gpus=gpus,
        usd_per_hour=usd,
        usd_per_million_output_tokens=_per_million(usd, output, duration),
        usd_per_million_tokens=_per_million(usd, tokens, duration),
    )


def _over(amount: float, base: float) -> float:
    return amount / base if base > 0 else 0.0


def _per_million(usd_per_hour: float | None, tokens: int, duration_s: float) -> float | None:
    if usd_per_hour is None or tokens == 0:
        return None
    return usd_per_hour / 3600 * duration_s / tokens * 1e6
