"""A statistic of a latency at the point's rate, as `{ttft|tpot|itl|e2e|queue}_{mean|p50|p90|p95|p99}_s`.

One file for the whole family, since `ttft_p99_s` and `itl_mean_s` differ only in which number of Metrics they read. The
definitions of the five latencies and of their percentiles are those of `simulator.spec.metrics`.
"""

from search.objectives import OperatingPoint
from simulator.spec.metrics import Distribution

DIRECTION = "minimize"
UNIT = "s"
LATENCIES = ("ttft", "tpot", "itl", "e2e", "queue")
STATISTICS = ("mean", "p50", "p90", "p95", "p99")
NAMES = tuple(f"{latency}_{statistic}_s" for latency in LATENCIES for statistic in STATISTICS)


def value(point: OperatingPoint, name: str) -> float | None:
    """Returns the statistic in seconds; None where nothing was measured (TPOT of one-token requests)."""
    latency, statistic, _ = name.split("_")
    distribution: Distribution = getattr(point.metrics, f"{latency}_s")
    return distribution.get(statistic)
