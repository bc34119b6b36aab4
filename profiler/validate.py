"""Validation: the same deployment under the same requests on a real engine and on the simulator, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from profiler.load import generate
from profiler.load.target import Target
from simulator.correction import CLASSES, with_factors
from simulator.errors import Unmeasured
from simulator.measure import metrics
from simulator.run import Prepared, simulate
from simulator.spec.metrics import Metrics
from simulator.traffic import Traffic

# What is compared, each at these statistics; the error is (simulated - measured) / measured.
COMPARED = {
    "ttft_s": ("mean", "p50", "p99"),
    "tpot_s": ("mean", "p50", "p99"),
    "itl_s": ("mean", "p99"),
    "e2e_s": ("mean", "p50", "p99"),
}
RATES = ("output_token_throughput_tps", "request_throughput_rps")
# By so much a class of operators is slowed to see what depends on it.
NUDGE = 1.1
# More requests that go wrong than this share, and nothing is said of the rest.
MOST_WRONG = 0.01


class Late(Unmeasured):
    """The load generator did not keep the schedule."""

    kind = "late"


class Wrong(Unmeasured):
    """Too many requests went wrong."""

    kind = "requests"


@dataclass(frozen=True)
class Compared:
    """Metrics of one load, measured and simulated, `errors[metric]`, and `work`: by how much a metric grows with each class.

    work["tpot_s"]["attention"] is the relative change of the simulated mean TPOT over that of the attention's seconds.
    """

    rate_rps: float | None
    measured: dict[str, Any]
    simulated: dict[str, Any]
    errors: dict[str, float]
    work: dict[str, dict[str, float]]
    lag: dict[str, Any]


def compare(
    prepared: Prepared,
    traffic: Traffic,
    rate_rps: float | None,
    target: Target,
    options: generate.Options | None = None,
) -> Compared:
    """Returns what the server and the simulator make of the same arrivals; raises Unmeasured for a run that tells nothing."""
    found = generate.run(target, traffic, rate_rps, options)
    document = found.document()
    wrong = sum(found.faults.values())
    if wrong > MOST_WRONG * len(traffic):
        kind, reason = next(iter(found.reasons.items()))
        raise Wrong(f"{wrong:,} of {len(traffic):,} requests went wrong; the first ({kind}): {reason}")
    if not found.kept:
        raise Late(f"requests were sent {document['lag']['mean_s']:.4g} s late on average: the machine of the load is too slow")
    simulated = metrics(simulate(prepared, traffic, rate_rps), prepared)
    measured = found.metrics()
    return Compared(
        rate_rps,
        measured.model_dump(mode="json"),
        simulated.model_dump(mode="json"),
        errors(measured, simulated),
        work(prepared, traffic, rate_rps, simulated),
        document["lag"],
    )


def errors(measured: Metrics, simulated: Metrics) -> dict[str, float]:
    """Returns (simulated - measured) / measured by metric, `ttft_p99_s` and so on; what was not seen is left out."""
    pairs = {
        f"{name.removesuffix('_s')}_{statistic}_s": (
            getattr(measured, name).get(statistic),
            getattr(simulated, name).get(statistic),
        )
        for name, statistics in COMPARED.items()
        for statistic in statistics
    }
    pairs |= {name: (getattr(measured, name), getattr(simulated, name)) for name in RATES}
    return {name: (ours - real) / real for name, (real, ours) in pairs.items() if real and ours is not None}


def work(prepared: Prepared, traffic: Traffic, rate_rps: float | None, base: Metrics) -> dict[str, dict[str, float]]:
    """Returns the relative change of mean TPOT and median TTFT over that of the seconds of each class of operators."""
    plain = _watched(base)
    found: dict[str, dict[str, float]] = {name: {} for name, value in plain.items() if value}
    for each in CLASSES:
        slower = with_factors(prepared, {each: NUDGE})
        changed = _watched(metrics(simulate(slower, traffic, rate_rps), slower))
        for name, shares in found.items():
            value, before = changed[name], plain[name]
            assert value is not None and before is not None, "a metric of the same requests"
            shares[each] = (value / before - 1) / (NUDGE - 1)
    return found


def _watched(found: Metrics) -> Mapping[str, float | None]:
    return {"tpot_mean_s": found.tpot_s.mean, "ttft_p50_s": found.ttft_s.p50}
