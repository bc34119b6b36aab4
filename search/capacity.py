"""Capacity: the highest arrival rate within the Slo, with an interval, and the latency curve on the way there.

One set of requests, drawn at a unit rate, is replayed at every rate, so that each bound's excess is a smooth function of
the rate and their root takes few runs. A rate at which the backlog grows is beyond capacity whatever the Slo. In a closed
loop the load is the number of users, who send the same requests; there is no backlog, since they wait for their answers.

The interval is one that a single run can check: a run of twice as many requests finds its capacity inside with confidence
LEVEL. It holds the scatter of that run beside that of the mean, and so holds the capacity of endless traffic all the more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from search.fidelity import LEVEL, Fidelity
from search.predict import Saturation, predict
from search.probe import Probe, open_probe, users_probe
from search.root import Root
from simulator.draw import draw
from simulator.run import SATURATION_REQUESTS, Prepared, saturated_rate
from simulator.spec.metrics import Metrics
from simulator.spec.prices import Bill
from simulator.spec.slo import Slo
from simulator.spec.workload import Workload
from simulator.traffic import Traffic

FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
# How much longer than the runs that are behind an interval the one is that may check it.
CHECK = 2


@dataclass(frozen=True)
class Estimate:
    """A capacity in requests a second of the whole fleet, or in users, with an interval of confidence `level`."""

    value: float
    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Capacity:
    """A capacity, the bound that ends it, the saturated rate, and the operating points that were run on the way.

    `safe_rps` is the highest rate to plan with: the low end of the interval, or less where the first seed needs it.
    `runs` holds (rate, Metrics) of the first seed at fixed fractions of the saturated rate and at the safe rate, ascending.
    In a closed loop `users` is the capacity, rates are those at which the users' requests are completed, and fractions are
    of the users that are foretold to saturate the fleet. `saturated_rps` is None there, and where no curve was asked for.
    """

    rate_rps: Estimate
    safe_rps: float
    binding: str
    saturated_rps: float | None
    runs: tuple[tuple[float, Metrics], ...]
    requests: int
    seeds: int
    notes: tuple[str, ...]
    users: Estimate | None = None


def traffic_for(workload: Workload, count: int, seed: int) -> Traffic:
    """Returns `count` requests of a study's workload, drawn afresh for each seed; kept, since all trials share them."""
    return _drawn(workload.canonical(), count, seed)


@lru_cache(maxsize=16)
def _drawn(workload: str, count: int, seed: int) -> Traffic:
    return draw(Workload.model_validate_json(workload), count, seed, resample=True)


def measure_capacity(
    prepared: Prepared,
    workload: Workload,
    slo: Slo,
    fidelity: Fidelity,
    seed: int = 0,
    bill: Bill | None = None,
    fractions: Sequence[float] = FRACTIONS,
) -> Capacity:
    """Returns the capacity of the whole fleet; raises Infeasible when the Slo fails even at a trickle.

    The interval is from the scatter of the seeds, or `fidelity.spread` around the value of a single one. Without fractions
    there is no curve: the search starts where the price list foretells saturation, and what it passes over it does not see.
    """
    replicas = prepared.deployment.replicas
    count = fidelity.count(replicas)
    traffics = [traffic_for(workload, count, each) for each in fidelity.seeds_from(seed)]
    foretold = predict(prepared, traffics[0], replicas)
    if workload.users is not None:
        return _of_users(prepared, slo, fidelity, traffics, foretold, bill, fractions)
    saturated = replicas * _saturated(prepared, workload, seed) if fractions else None
    ceiling = saturated or foretold.rate_rps
    first, *others = (open_probe(prepared, slo, traffic, ceiling, bill) for traffic in traffics)
    runs, roots = _measured(first, others, fractions, fidelity)
    estimate = _estimate([root.value for root in roots], fidelity)
    safe = _safe(estimate, roots[0], fidelity, first.least)
    return Capacity(
        rate_rps=estimate,
        safe_rps=safe,
        binding=roots[0].binding,
        saturated_rps=saturated,
        runs=tuple(sorted([*runs, (safe, first.run(safe))], key=lambda run: run[0])),
        requests=count,
        seeds=fidelity.seeds,
        notes=traffics[0].notes,
    )


def _of_users(
    prepared: Prepared,
    slo: Slo,
    fidelity: Fidelity,
    traffics: Sequence[Traffic],
    foretold: Saturation,
    bill: Bill | None,
    fractions: Sequence[float],
) -> Capacity:
    """Returns the capacity in a closed loop: the most users, and the rate at which their requests are completed."""
    # Little's law: so many are in service when it saturates, and so many between two requests.
    ceiling = max(foretold.running + foretold.rate_rps * float(traffics[0].think_s.mean()), 1.0)
    first, *others = (users_probe(prepared, slo, traffic, ceiling, bill) for traffic in traffics)
    runs, roots = _measured(first, others, fractions, fidelity)
    users = _estimate([root.value for root in roots], fidelity)
    safe = float(math.floor(_safe(users, roots[0], fidelity, first.least)))
    at_safe, at_capacity = first.run(safe), first.run(float(round(users.value)))
    found = {metrics.request_throughput_rps: metrics for _, metrics in [*runs, (safe, at_safe)]}
    rate = at_capacity.request_throughput_rps
    return Capacity(
        rate_rps=Estimate(rate, rate * users.low / users.value, rate * users.high / users.value, users.level),
        safe_rps=at_safe.request_throughput_rps,
        binding=roots[0].binding,
        saturated_rps=None,
        runs=tuple(sorted(found.items(), key=lambda run: run[0])),
        requests=len(traffics[0]),
        seeds=fidelity.seeds,
        notes=traffics[0].notes,
        users=users,
    )


def _measured(
    first: Probe, others: Sequence[Probe], fractions: Sequence[float], fidelity: Fidelity
) -> tuple[list[tuple[float, Metrics]], list[Root]]:
    """Returns the first seed's metrics at fractions of the ceiling, and the root of every seed."""
    loads = first.loads(fractions)
    runs = [(load, first.run(load)) for load in loads]
    found = first.capacity(loads, fidelity.tolerance)
    return runs, [found, *(probe.near(found.value, fidelity.tolerance) for probe in others)]


def _safe(estimate: Estimate, first: Root, fidelity: Fidelity, least: float) -> float:
    # However wildly the seeds disagree, the lightest load is never beyond the first of them.
    return first.good if fidelity.seeds == 1 else max(min(estimate.low, first.good), least)


def _saturated(prepared: Prepared, workload: Workload, seed: int) -> float:
    """Returns one replica's saturated rate from enough requests to fill its batch several times."""
    count = max(SATURATION_REQUESTS, 8 * prepared.limits.max_num_seqs)
    return saturated_rate(prepared, traffic_for(workload, count, seed))


def _estimate(values: Sequence[float], fidelity: Fidelity) -> Estimate:
    """Returns the geometric mean with Student's prediction interval: the scatter of the mean and of a checking run."""
    logs, count = np.log(values), len(values)
    if count == 1:
        return Estimate(values[0], values[0] * (1 - fidelity.spread), values[0] * (1 + fidelity.spread), LEVEL)
    # scipy takes longer to load than a simulation takes, and is needed for an interval alone.
    from scipy.special import stdtrit

    value = math.exp(float(logs.mean()))
    quantile = float(stdtrit(count - 1, 0.5 + LEVEL / 2))
    # A root is known to the tolerance of its search and no better, however well the seeds agree.
    half = max(quantile * float(logs.std(ddof=1)) * math.sqrt(1 / count + 1 / CHECK), fidelity.tolerance / 2)
    return Estimate(value, value * math.exp(-half), value * math.exp(half), LEVEL)
