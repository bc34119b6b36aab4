"""Inter-token gaps by the million: counts and sums in bins at most 0.1 % wide, so that equal gaps are kept exactly.

A bin is the exponent of a float64 and the first ten bits of its mantissa: no logarithm is taken.
"""

from __future__ import annotations

import numpy as np

from simulator.kernel.jit import inner

MANTISSA_BITS = 10
LOWEST_EXPONENT, HIGHEST_EXPONENT = -22, 16
SMALLEST_S, LARGEST_S = 2.0**LOWEST_EXPONENT, 2.0**HIGHEST_EXPONENT
BINS = ((HIGHEST_EXPONENT - LOWEST_EXPONENT) << MANTISSA_BITS) + 2
_SHIFT = 52 - MANTISSA_BITS
_FIRST = (1023 + LOWEST_EXPONENT) << MANTISSA_BITS


@inner
def bin_of(gap_s: float) -> int:
    """Returns the bin of a gap in seconds; what lies outside the range goes to the first or the last bin."""
    if gap_s < SMALLEST_S:
        return 0
    place = (np.float64(gap_s).view(np.int64) >> _SHIFT) - _FIRST + 1
    return int(place) if place < BINS else BINS - 1


@inner
def lower_edge(place: int) -> float:
    """Returns the smallest gap of a bin, in seconds."""
    return float(np.int64((place - 1 + _FIRST) << _SHIFT).view(np.float64))
