"""Highest arrival rate within the SLO for every dollar an hour."""

from search.objectives import OperatingPoint

DIRECTION = "maximize"
UNIT = "requests per second per USD per hour"
NEEDS_PRICES = True


def value(point: OperatingPoint) -> float | None:
    """Returns the capacity over the rent; None for a fleet that costs nothing."""
    if point.capacity_rps is None or not point.usd_per_hour:
        return None
    return point.capacity_rps.value / point.usd_per_hour
