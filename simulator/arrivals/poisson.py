"""Poisson arrivals: users who do not know of each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TAKES_CV = False
RECORDED = False


def gaps(count: int, cv: float | None, rng: np.random.Generator) -> NDArray[np.float64]:
    """Returns exponential gaps of mean 1, float64[count]."""
    return rng.standard_exponential(count)
