"""Distributions of lengths beside each other: percentiles, and the largest distance between the two.

Both are judged by shares of requests, whose spread is known whatever the distribution is; a bootstrap of the percentile
itself fails where lengths lie in clusters and a percentile jumps from one to the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from search.drift.blocks import Blocks, explained, quantile_of_t
from search.drift.document import Change
from search.drift.measures import Group
from search.sweep.numbers import change

Floats = NDArray[np.float64]
LENGTHS: tuple[Group, ...] = ("prompt_tokens", "output_tokens")
PERCENTS = (50, 90, 99)
DECILES = np.linspace(0.1, 0.9, 9)
# Percentiles and the distance, of each of the lengths.
COMPARISONS = len(LENGTHS) * (len(PERCENTS) + 1)


class Lengths:
    """The lengths of one side, in order of arrival."""

    def __init__(self, values: Floats, seed: int) -> None:
        """Takes values[n] and the seed of the bootstrap."""
        self.values, self.ordered, self.blocks = values, np.sort(values), Blocks(len(values), seed)

    def at(self, share: float) -> float:
        """Returns the nearest-rank quantile."""
        return float(self.ordered[min(max(math.ceil(share * len(self.ordered) - 1e-9) - 1, 0), len(self.ordered) - 1)])

    def variance(self, places: Floats) -> float:
        """Returns the variance of the share p at or below a length over p (1 - p), in the mean of the places.

        It is 1 / n where requests are independent, and more where neighbours are alike.
        """
        below = (self.values[:, None] <= places).astype(np.float64)
        share = below.mean(axis=0)
        told = (share > 0) & (share < 1)
        if not told.any():
            return 1 / len(self.values)
        counts = self.blocks.resampled(np.diff(self.blocks.edges).astype(np.float64))
        replicates = self.blocks.resampled(self.blocks.sums(below[:, told])) / counts[:, None]
        inflated = 2 * replicates.var(axis=0) / (share * (1 - share))[told]
        return max(float(inflated.mean()), 1 / len(self.values))


def lengths(group: Group, study: Floats, trace: Floats, alpha: float, tolerance: float, seed: int) -> Iterator[Change]:
    """Yields percentiles and the distance, each with a chance of `alpha` to count without a change."""
    old, new = Lengths(study, seed), Lengths(trace, seed + 1)
    for percent in PERCENTS:
        yield _percentile(group, percent, old, new, alpha, tolerance)
    yield _distance(group, old, new, alpha, tolerance)


def _percentile(group: Group, percent: int, old: Lengths, new: Lengths, alpha: float, tolerance: float) -> Change:
    """Returns a percentile; it counts where either side's lies beyond what the other's may be, so many shares off."""
    share = percent / 100
    before, now = old.at(share), new.at(share)
    spread = sum(each.variance(np.array([place])) for each, place in ((old, before), (new, now)))
    off = quantile_of_t(alpha, 2 * old.blocks.freedom) * math.sqrt(share * (1 - share) * spread)
    up = now > before
    low, high = (old, new) if up else (new, old)
    # Nobody knows how long the longest could be: a percentile so near to the end has no bound above.
    bounded = share + off < 1
    factors = [low.at(share + off) / low.at(share), high.at(share) / high.at(share - off)] if bounded else []
    chance = math.log(max(factors)) if factors else None
    beyond = chance is not None and abs(math.log(now / before)) > max(chance, math.log1p(tolerance))
    told = None if chance is None else explained(chance, up=up)
    return Change(f"{group}_p{percent}", group, "tokens", before, now, change(before, now), told, beyond)


def _distance(group: Group, old: Lengths, new: Lengths, alpha: float, tolerance: float) -> Change:
    """Returns the largest distance between the distributions (Kolmogorov and Smirnov)."""
    grid = np.unique(np.concatenate([old.ordered, new.ordered]))
    upto = [np.searchsorted(each.ordered, grid, side="right") / len(each.ordered) for each in (old, new)]
    distance = float(np.abs(upto[0] - upto[1]).max())
    pooled = np.quantile(np.concatenate([old.ordered, new.ordered]), DECILES)
    # Of independent requests the distance exceeds c sqrt(1/n + 1/m) with a probability of 2 exp(-2 c^2).
    chance = math.sqrt(-math.log(alpha / 2) / 2 * sum(each.variance(pooled) for each in (old, new)))
    return Change(f"{group}_distance", group, "share", None, distance, None, chance, distance > max(chance, tolerance))
