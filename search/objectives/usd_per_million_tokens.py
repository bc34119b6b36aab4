"""Dollars per million prompt and output tokens at the point's rate."""

from search.objectives import OperatingPoint

DIRECTION = "minimize"
UNIT = "USD per million tokens"
NEEDS_PRICES = True


def value(point: OperatingPoint) -> float | None:
    """Returns the rent over all tokens served in the same time."""
    return point.metrics.usd_per_million_tokens
