"""Highest arrival rate within the SLO, for the whole fleet."""

from search.objectives import OperatingPoint

DIRECTION = "maximize"
UNIT = "requests per second"


def value(point: OperatingPoint) -> float | None:
    """Returns the capacity of the point's deployment, the same at every point of one trial."""
    return None if point.capacity_rps is None else point.capacity_rps.value
