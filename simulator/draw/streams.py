"""Random streams: one for each part of what is drawn, so that another arrival process, say, leaves the lengths as they are."""

from __future__ import annotations

import numpy as np

# A new part goes at the end: the place of a part is its seed.
STREAMS = ("arrivals", "lengths", "rows", "classes", "turns", "thinking", "pauses", "resets", "prefixes", "cancellations")


def stream(seed: int, part: str, kind: int = 0) -> np.random.Generator:
    """Returns the generator of one part of the randomness, and of one class of requests where there are several."""
    place = STREAMS.index(part)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(place, kind) if kind else (place,)))
