"""The arrivals of a trace as they were recorded; a trace with arrival times has this process unless another is given."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

TAKES_CV = False
RECORDED = True


def gaps(count: int, cv: float | None, rng: np.random.Generator) -> NoReturn:
    """Raises: recorded gaps go with the rows they were recorded with, so whoever has the trace takes them from it."""
    raise NotImplementedError("recorded arrivals are the trace's own")
