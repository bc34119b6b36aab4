"""Gamma renewal arrivals: burstier than Poisson for a cv above 1, more regular below."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TAKES_CV = True
RECORDED = False


def gaps(count: int, cv: float | None, rng: np.random.Generator) -> NDArray[np.float64]:
    """Returns gamma gaps of mean 1 and coefficient of variation `cv`, float64[count]: shape 1 / cv², scale cv²."""
    assert cv is not None, "TAKES_CV"
    return rng.standard_gamma(1 / cv**2, count) * cv**2
