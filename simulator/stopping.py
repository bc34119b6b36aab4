"""When a run is hopeless: how many requests or tokens a percentile bound allows to be late."""

from __future__ import annotations

import math

import numpy as np

from simulator.kernel.engine import Stop
from simulator.spec.slo import Bound, Slo
from simulator.traffic import Traffic

# Gaps are judged by the means of bins at most 0.1 % wide, so that one is late for certain only beyond that.
BIN_SLACK = 1.001
METRICS = ("ttft_s", "itl_s", "e2e_s")


def stop_at(slo: Slo, traffic: Traffic) -> Stop:
    """Returns the limits beyond which a run of the traffic violates the Slo for certain.

    Bounds on means, on TPOT and of a single class do not stop a run, and nothing does where requests follow one another
    or may be dropped: there it is not known beforehand how many there are.
    """
    if (traffic.after >= 0).any() or np.isfinite(traffic.cancel_after_s).any():
        return Stop()
    strictest: dict[str, tuple[float, int]] = {}
    for bound in slo.bounds:
        if bound.metric in METRICS and bound.statistic != "mean" and getattr(bound, "class_name", None) is None:
            allowed = _allowed(bound, traffic)
            if bound.metric not in strictest or allowed < strictest[bound.metric][1]:
                strictest[bound.metric] = bound.limit_s, allowed
    ttft, itl, e2e = (strictest.get(metric, (math.inf, 0)) for metric in METRICS)
    return Stop(ttft[0], ttft[1], itl[0] * BIN_SLACK, itl[1], e2e[0], e2e[1])


def _allowed(bound: Bound, traffic: Traffic) -> int:
    """Returns how many values may exceed the limit of a nearest-rank percentile."""
    count = int((traffic.output_tokens - 1).sum()) if bound.metric == "itl_s" else len(traffic)
    share = float(bound.statistic.removeprefix("p")) / 100
    return count - max(math.ceil(share * count - 1e-9), 1)
