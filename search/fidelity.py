"""Fidelity: how many requests a run has, from how many seeds, and what a capacity from it is worth.

`spread` is the relative half-width within which capacities of one run each were found around that of long runs, bias
included: short runs overstate, since an overloaded queue has no time to grow. `latency_spread` is the same for a tail
latency at a fixed share of the load. `make bench` measures both again, as `fidelity_*`.
"""

from __future__ import annotations

from dataclasses import dataclass

MINIMUM_REQUESTS = 5_000
LEVEL = 0.95
# A fleet's runs grow with its replicas up to this many requests, then only so that each replica has a quarter of its own.
MOST_REQUESTS = 800_000
LEAST_PER_REPLICA = 1_000
# Seeds of one measurement lie far apart, so that measurements from neighbouring seeds share no run.
SEED_STRIDE = 1_000_003


@dataclass(frozen=True)
class Fidelity:
    """Requests per run, runs with seeds of their own, and the relative width at which a root is narrow enough."""

    requests: int
    seeds: int
    tolerance: float
    spread: float
    latency_spread: float

    def count(self, replicas: int) -> int:
        """Returns the requests of one run of a fleet of so many replicas."""
        least = replicas * max(LEAST_PER_REPLICA, self.requests // 4)
        return min(self.requests * replicas, max(MOST_REQUESTS, least))

    def seeds_from(self, seed: int) -> tuple[int, ...]:
        """Returns the seed of each run, the given one first."""
        return tuple(seed + place * SEED_STRIDE for place in range(self.seeds))


# Spreads are those of chat on three deployments, rounded up. There 1,000 requests overstate a capacity by 5.5 % on average;
# on one H100 20,000 do by 1.5 %, 100,000 by 0.4 % and 200,000 by at most 0.2 %, and a run of 200,000 scatters by 0.9 %.
SCREEN = Fidelity(requests=1_000, seeds=1, tolerance=0.02, spread=0.16, latency_spread=0.32)
RESCORE = Fidelity(requests=20_000, seeds=1, tolerance=0.01, spread=0.04, latency_spread=0.09)
FINAL = Fidelity(requests=100_000, seeds=4, tolerance=0.004, spread=0.03, latency_spread=0.04)
# What `trimtab capacity` publishes: one deployment alone may take its time.
ANSWER = Fidelity(requests=200_000, seeds=4, tolerance=0.004, spread=0.03, latency_spread=0.04)
