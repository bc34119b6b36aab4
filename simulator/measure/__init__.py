"""Outcome and Slo to Metrics: the one place where a latency is worked out (definitions in spec/metrics.py)."""

from simulator.measure.latencies import Latencies, gap_distribution, latencies
from simulator.measure.ranks import PERCENTILES, distribution, nearest_rank
from simulator.measure.summary import metrics
from simulator.measure.verdict import backlog_growth, excess, excesses, good_requests, statistic

__all__ = [
    "PERCENTILES",
    "Latencies",
    "backlog_growth",
    "distribution",
    "excess",
    "excesses",
    "gap_distribution",
    "good_requests",
    "latencies",
    "metrics",
    "nearest_rank",
    "statistic",
]
