"""Fidelity: how many requests a run has, from how many seeds, and what a capacity from it is worth.

`spread` is the relative half-width within which capacities of one run each were found around that of long runs, bias
included: short runs overstate, since an overloaded queue has no time to grow. `latency_spread` is the same for a tail
latency at a fixed share of the load. `make bench` measures both again, as `fidelity_*`.
"""

from __future__ import annotations

from dataclasses import dataclass

MINIMUM_REQUESTS = 5_000
LEVEL = 0.95


@dataclass(frozen=True)
class Fidelity:
    """Requests per run, runs with seeds of their own, and the relative width at which a root is narrow enough."""

    requests: int
    seeds: int
    tolerance: float
    spread: float
    latency_spread: float

    @property
    def publishable(self) -> bool:
        """Whether a capacity from these runs may be shown as an answer."""
        return self.requests >= MINIMUM_REQUESTS


SCREEN = Fidelity(requests=1_000, seeds=1, tolerance=0.02, spread=0.15, latency_spread=0.40)
RESCORE = Fidelity(requests=20_000, seeds=1, tolerance=0.01, spread=0.03, latency_spread=0.10)
FINAL = Fidelity(requests=100_000, seeds=4, tolerance=0.002, spread=0.015, latency_spread=0.05)
