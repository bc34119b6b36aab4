"""GPUs of the whole fleet."""

from search.objectives import OperatingPoint

DIRECTION = "minimize"
UNIT = "GPUs"


def value(point: OperatingPoint) -> float | None:
    """Returns how many GPUs the replicas occupy."""
    return float(point.gpus)
