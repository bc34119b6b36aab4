"""How well the schedule was kept: a load that came late says nothing about the server."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.measure.ranks import nearest_rank
from simulator.spec.metrics import Distribution

# What is let pass of the mean lag and of its p99: a share of the same statistic of TTFT, and what any busy machine shows.
MEAN_SHARE, MEAN_LEAST_S = 0.02, 0.002
P99_SHARE, P99_LEAST_S = 0.05, 0.01
# How often the loop is asked how late it is.
TICK_S = 0.01


@dataclass(frozen=True)
class Lag:
    """By how many seconds requests were sent after they were due, and the loop that stamps tokens came back late."""

    mean_s: float
    p99_s: float
    max_s: float
    loop_p99_s: float
    loop_max_s: float

    def allowed_s(self, ttft: Distribution) -> tuple[float, float]:
        """Returns the mean and the p99, in seconds, that a run with such a TTFT allows."""
        return max(MEAN_LEAST_S, MEAN_SHARE * (ttft.mean or 0.0)), max(P99_LEAST_S, P99_SHARE * (ttft.p99 or 0.0))

    def kept(self, ttft: Distribution) -> bool:
        """Returns whether the schedule was kept, and its tokens stamped, well enough for the run to be reported."""
        mean_s, p99_s = self.allowed_s(ttft)
        return self.mean_s <= mean_s and max(self.p99_s, self.loop_p99_s) <= p99_s

    def document(self, ttft: Distribution) -> dict[str, Any]:
        """Returns the lag with what was allowed, its units in the names."""
        mean_s, p99_s = self.allowed_s(ttft)
        return {**asdict(self), "allowed_mean_s": mean_s, "allowed_p99_s": p99_s, "kept": self.kept(ttft)}


class Watch:
    """Asks the running loop again and again how late it comes back; as a context, for as long as it is open."""

    def __init__(self) -> None:
        self.late_s: list[float] = []

    async def __aenter__(self) -> Watch:
        self._task = asyncio.create_task(self._ask())
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _ask(self) -> None:
        while True:
            due = time.perf_counter() + TICK_S
            await asyncio.sleep(TICK_S)
            self.late_s.append(time.perf_counter() - due)


def lag_of(late_s: NDArray[np.float64], loop_late_s: list[float]) -> Lag:
    """Returns the lag of a run from that of every request and of every look at the loop, in seconds."""
    sent, loop = np.sort(late_s), np.sort(np.array(loop_late_s))
    loop = loop if len(loop) else np.zeros(1)
    sent = sent if len(sent) else np.zeros(1)
    return Lag(float(sent.mean()), _p99(sent), float(sent[-1]), _p99(loop), float(loop[-1]))


def _p99(values: NDArray[np.float64]) -> float:
    return float(values[nearest_rank(len(values), 0.99)])
