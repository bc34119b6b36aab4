"""Inter-token gaps by the million: counts and sums in bins 0.05 % wide, so that equal gaps are kept exactly."""

from __future__ import annotations

import math

from simulator.kernel.jit import inner

SMALLEST_S, LARGEST_S = 1e-7, 1e6
PER_UNIT = 1.0 / math.log(1.0005)
BINS = int(math.log(LARGEST_S / SMALLEST_S) * PER_UNIT) + 2
_SHIFT = -math.log(SMALLEST_S) * PER_UNIT



@inner
def bin_of(gap_s: float) -> int:
    """Returns the bin of a gap in seconds; what lies outside the range goes to the first or the last bin."""
    if gap_s <= SMALLEST_S:
        return 0
    place = int(math.log(gap_s) * PER_UNIT + _SHIFT) + 1
    return place if place < BINS else BINS - 1
