"""Which knob matters: the share of an objective's variance between the settings of each knob alone (eta squared)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

# With fewer deployments a share says more of chance than of the knob.
FEWEST = 8


@dataclass(frozen=True)
class Importance:
    """A knob, the share of the variance that its settings explain by themselves, and how many settings it has."""

    knob: str
    share: float
    settings: int


def importance(frame: pd.DataFrame, knobs: Sequence[str], objective: str) -> list[Importance]:
    """Returns the knobs of a frame by their share, the largest first; empty with too few deployments or without any variance.

    The share is that of the objective's logarithm where all values are positive, since prices and latencies differ by
    factors. It is corrected for the number of settings (epsilon squared), so that chance alone gives 0; what two knobs do
    only together is in none of the shares, which therefore need not add up to 1.
    """
    known = frame.dropna(subset=[objective])
    values = known[objective].to_numpy(dtype=float)
    if len(values) < FEWEST:
        return []
    values = np.log(values) if (values > 0).all() else values
    total = float(((values - values.mean()) ** 2).sum())
    if total <= 1e-12 * len(values):
        return []
    found = [_of(knob, known[knob].astype(str).to_numpy(), values, total) for knob in knobs]
    return sorted(found, key=lambda each: (-each.share, each.knob))


def _of(knob: str, settings: np.ndarray, values: np.ndarray, total: float) -> Importance:
    names, group = np.unique(settings, return_inverse=True)
    counts, sums = np.bincount(group), np.bincount(group, weights=values)
    between = float((sums**2 / counts).sum() - values.sum() ** 2 / len(values))
    left = len(values) - len(names)
    within = (total - between) / left if left > 0 else 0.0
    share = (between - (len(names) - 1) * within) / total if left > 0 else between / total
    return Importance(knob, float(min(max(share, 0.0), 1.0)), len(names))
