"""How far sampling alone moves a number: a bootstrap by blocks of time.

Requests are cut into blocks of consecutive ones, since neighbours are alike: bursts, sessions, hours of the day. Each block
is replaced by itself or by its neighbour, both alike likely, so that what changes slowly (the shape of a day) stays where
it is and only what differs between neighbours counts as chance. With two blocks a stratum the bootstrap's variance is half
of what it estimates (n - 1 over n), which SCALE makes good: in the linear case the squares are those of von Neumann's
successive differences (Annals of Mathematical Statistics 12, 1941).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SCALE = math.sqrt(2.0)
REPLICATES = 400
MOST_BLOCKS = 40
# A block of fewer requests has no spread of its own.
FEWEST_IN_BLOCK = 10
# Beyond any change there is, and still a number.
MOST_LOG = 50.0


class Blocks:
    """A partition of n requests, in order of arrival, into an even number of blocks, and REPLICATES draws of them.

    edges[b + 1] are the first rows of the blocks and n; weights[REPLICATES, b] say how often each block is taken.
    """

    def __init__(self, count: int, seed: int, fewest: int = FEWEST_IN_BLOCK) -> None:
        """Takes the number of requests, or of minutes and the like, and how many of them a block has at least."""
        blocks = max(min(MOST_BLOCKS, count // fewest) // 2 * 2, 2)
        self.count = count
        self.edges: Ints = np.linspace(0, count, blocks + 1).astype(np.int64)
        taken = np.random.default_rng([seed, blocks]).binomial(2, 0.5, (REPLICATES, blocks // 2))
        self.weights: Floats = np.stack([taken, 2 - taken], axis=2).reshape(REPLICATES, blocks).astype(np.float64)

    @property
    def freedom(self) -> int:
        """The degrees of freedom of what the pairs of blocks tell of chance."""
        return (len(self.edges) - 1) // 2

    def sums(self, values: Floats) -> Floats:
        """Returns the sum of each block of values[n] or values[n, k]: float64[b] or [b, k]."""
        return np.add.reduceat(values, self.edges[:-1], axis=0)

    def resampled(self, sums: Floats) -> Floats:
        """Returns the totals of every replicate from the sums of the blocks: float64[REPLICATES] or [REPLICATES, k]."""
        found: Floats = self.weights @ sums
        return found

    def error(self, replicates: Floats) -> float:
        """Returns the standard error of a number, from its values in the replicates."""
        return SCALE * float(np.std(replicates))


def quantile_of_t(alpha: float, freedom: float) -> float:
    """Returns what Student's t exceeds on either side with a probability of `alpha` in all."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 1 - alpha / 2))


def explained(log_factor: float, *, up: bool) -> float:
    """Returns the relative change, without its sign, that a factor explains: a rise by 100 % is as far as a fall by 50 %."""
    return math.expm1(min(log_factor, MOST_LOG)) if up else -math.expm1(-log_factor)
