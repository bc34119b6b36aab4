"""Traffic: the requests of one run, drawn from a Workload or read from a trace."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Traffic:
    """Requests in order of arrival on their own clock, whose mean rate is `rate_rps`; token counts are at least 1.

    arrival_s[n] seconds, not falling; prompt_tokens[n], output_tokens[n], priority[n] (the lower goes first).
    `notes` says in words what was dropped, cut or resampled.
    """

    arrival_s: NDArray[np.float64]
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    priority: NDArray[np.int64]
    rate_rps: float
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.arrival_s)

    def at(self, rate_rps: float | None) -> NDArray[np.float64]:
        """Returns arrival times in seconds at a mean rate; None keeps the own clock exactly."""
        return self.arrival_s if rate_rps is None else self.arrival_s * (self.rate_rps / rate_rps)
