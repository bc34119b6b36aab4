"""A newer trace of the traffic that the request of the REST tests states."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write(path: Path, rate_rps: float, count: int = 2_000) -> Path:
    """Returns the path of a new trace of the request's own lengths."""
    rng = np.random.default_rng(1)
    arrivals = np.cumsum(rng.exponential(1 / rate_rps, count)).round(6)
    rows = zip(arrivals, rng.integers(100, 301, count), rng.integers(10, 31, count), strict=True)
    lines = ["arrived_at,num_prefill_tokens,num_decode_tokens", *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path
