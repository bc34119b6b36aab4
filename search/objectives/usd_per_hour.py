"""Dollars an hour that the fleet rents for."""

from search.objectives import OperatingPoint

DIRECTION = "minimize"
UNIT = "USD per hour"
NEEDS_PRICES = True


def value(point: OperatingPoint) -> float | None:
    """Returns the rent of the whole instances, or of single GPUs where the price book sells them so."""
    return point.usd_per_hour
