"""Output tokens a second from every GPU at the point's rate."""

from search.objectives import OperatingPoint

DIRECTION = "maximize"
UNIT = "output tokens per second per GPU"


def value(point: OperatingPoint) -> float | None:
    """Returns the fleet's output token throughput over its GPUs."""
    return point.metrics.output_token_throughput_tps / point.gpus
