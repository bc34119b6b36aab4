"""The plan turned around: how much of the demand, and which Slo, a monthly budget buys. Nothing is simulated."""

from __future__ import annotations

import math
from collections.abc import Callable

from search.plan.document import ForBudget, OptionName
from simulator.cli import HOURS_A_MONTH
from simulator.spec.slo import Slo

# How near to the budget the answers come, and how far the Slo's bounds are turned.
TOLERANCE = 1e-4
SLO_RANGE = (1 / 16, 16.0)
MOST_DEMAND = 1e6
# What a week costs for a demand of so many times the planned one under an Slo: dollars, the deployment's place, the option.
Cost = Callable[[float, Slo], tuple[float, int | None, OptionName | None]]
_WEEKS_A_MONTH = HOURS_A_MONTH / 168


def for_budget(usd_per_month: float, cost: Cost, slo: Slo, mean_rps: float, peak_rps: float) -> ForBudget:
    """Returns what a budget buys: cost neither falls with the demand nor rises with looser bounds, so that both are bisected."""
    week = usd_per_month / _WEEKS_A_MONTH
    factor = _most(lambda times: cost(times, slo)[0] <= week)
    _, candidate, option = cost(factor, slo) if factor else (0.0, None, None)
    turned = _least(lambda times: cost(1.0, scaled(slo, times))[0] <= week)
    return ForBudget(
        usd_per_month=usd_per_month,
        enough=cost(1.0, slo)[0] <= week,
        demand_factor=factor,
        mean_rps=factor * mean_rps if factor else None,
        peak_rps=factor * peak_rps if factor else None,
        candidate=candidate,
        option_name=option,
        slo_factor=turned,
        slo=dict(scaled(slo, turned)) if turned else None,
        slo_range=SLO_RANGE,
    )


def scaled(slo: Slo, factor: float) -> Slo:
    """Returns the Slo with every bound times a factor."""
    return Slo({name: limit * factor for name, limit in slo.items()})


def _most(fits: Callable[[float], bool]) -> float | None:
    """Returns the largest factor that fits, from below; None where not even a trickle does."""
    if fits(1.0):
        good, bad = 1.0, 2.0
        while bad < MOST_DEMAND and fits(bad):
            good, bad = bad, 2 * bad
    else:
        good, bad = 0.5, 1.0
        while not fits(good):
            good, bad = good / 2, good
            if good < 1 / MOST_DEMAND:
                return None
    while bad / good > 1 + TOLERANCE:
        middle = math.sqrt(good * bad)
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def _least(fits: Callable[[float], bool]) -> float | None:
    """Returns the smallest factor of the range that fits, from above; None where none does."""
    low, high = SLO_RANGE
    if not fits(high):
        return None
    if fits(low):
        return low
    while high / low > 1 + TOLERANCE:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high
