"""The latencies of a run's requests; definitions in spec/metrics.py."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from simulator.measure.ranks import NOTHING, PERCENTILES, Floats, nearest_rank, of_sorted
from simulator.outcome import Outcome
from simulator.spec.metrics import Distribution

Flags = NDArray[np.bool_]
# Beside TTFT, which counts for requests that did not finish too.
OF_FINISHED = (
    *("tpot_s", "itl_max_s", "e2e_s", "queue_s"),
    *("prefill_s", "prefill_per_token_s", "decode_s", "execution_s", "preempted_s", "bubble_s"),
)
ENDS = {
    "e2e_s": ("finished_at", "arrived_at"),
    "queue_s": ("first_scheduled_at", "arrived_at"),
    "prefill_s": ("first_token_at", "first_scheduled_at"),
    "decode_s": ("finished_at", "first_token_at"),
}


class Latencies:
    """The latencies of a run, or of those of its requests that are `members`; each is worked out, and sorted, once."""

    def __init__(self, outcome: Outcome, members: Flags | None = None) -> None:
        self.outcome, self.members = outcome, members
        self._values: dict[str, Floats] = {}
        self._ordered: dict[str, Floats] = {}
        self._fields: dict[str, Floats] = {}

    @cached_property
    def finished(self) -> Flags:
        """Whether each request of the run is a member and was served to its end."""
        lost = self.outcome.rejected | self.outcome.cancelled | self.outcome.expired
        finished: Flags = ~lost if self.members is None else self.members & ~lost
        return finished

    @cached_property
    def hopeless(self) -> Flags:
        """Whether each request of the run is a member and was rejected or dropped by its deadline."""
        lost = self.outcome.rejected | self.outcome.expired
        return lost if self.members is None else lost & self.members

    def values(self, name: str) -> Floats:
        """Returns a latency of the requests that have it, in seconds."""
        if name not in self._values:
            self._values[name] = self._first_tokens() if name == "ttft_s" else self._of_finished(name)
        return self._values[name]

    def ranked(self, name: str, rank: int) -> float:
        """Returns the value at a zero-based rank."""
        if name in self._ordered:
            return float(self._ordered[name][rank])
        return float(np.partition(self.values(name), rank)[rank])

    def distribution(self, name: str) -> Distribution:
        """Returns mean, nearest-rank percentiles and maximum of a latency."""
        values = self.values(name)
        # What a client cannot see of an engine is NaN for every request.
        if len(values) == 0 or np.isnan(values[0]):
            return NOTHING
        self._ordered[name] = np.sort(values)
        return of_sorted(self._ordered[name], float(values.mean()))

    def _field(self, name: str) -> Floats:
        """Returns a field of finished requests, copied once out of the records that it is spread over."""
        if name not in self._fields:
            whole = getattr(self.outcome, name)
            self._fields[name] = np.ascontiguousarray(whole if self._all_finished else whole[self.finished], dtype=np.float64)
        return self._fields[name]

    @cached_property
    def _all_finished(self) -> bool:
        return bool(self.finished.all())

    def _first_tokens(self) -> Floats:
        if self._all_finished:
            return self._field("first_token_at") - self._field("arrived_at")
        outcome = self.outcome
        seen = ~np.isnan(outcome.first_token_at) & ~outcome.rejected
        seen = seen if self.members is None else seen & self.members
        return outcome.first_token_at[seen] - outcome.arrived_at[seen]

    def _of_finished(self, name: str) -> Floats:
        field, several = self._field, self.several
        if name in ("preempted_s", "bubble_s"):
            return field(name)
        if name == "itl_max_s":
            return field("itl_max")[several]
        if name == "tpot_s":
            return self.values("decode_s")[several] / (field("output_tokens")[several] - 1)
        if name == "prefill_per_token_s":
            return self.values("prefill_s") / field("prompt_tokens")
        if name == "execution_s":
            return field("finished_at") - field("first_scheduled_at") - field("preempted_s")
        end, begin = ENDS[name]
        return field(end) - field(begin)

    @cached_property
    def several(self) -> Flags:
        """Whether each finished request has two output tokens or more."""
        several: Flags = self._field("output_tokens") > 1
        return several


def latencies(outcome: Outcome) -> dict[str, Floats]:
    """Returns by name the latencies of a run in seconds."""
    found = Latencies(outcome)
    return {name: found.values(name) for name in ("ttft_s", *OF_FINISHED)}


class Gaps:
    """The inter-token gaps of all requests; percentiles are exact to the bins' 0.1 %."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.upto = np.cumsum(outcome.gap_count)
        self.total = int(self.upto[-1]) if len(self.upto) else 0

    def mean(self) -> float:
        """Returns the mean gap in seconds; there is one at least."""
        return float(self.outcome.gap_sum.sum() / self.total)

    def ranked(self, rank: int) -> float:
        """Returns the mean of the bin that holds the gap at a zero-based rank."""
        place = int(np.searchsorted(self.upto, rank + 1))
        return float(self.outcome.gap_sum[place] / self.outcome.gap_count[place])

    def distribution(self) -> Distribution:
        """Returns the distribution of all gaps."""
        if self.total == 0:
            return NOTHING
        ranks = {name: self.ranked(nearest_rank(self.total, share)) for name, share in PERCENTILES.items()}
        return Distribution(mean=self.mean(), max=float(np.max(self.outcome.itl_max)), **ranks)


def gap_distribution(outcome: Outcome) -> Distribution:
    """Returns the distribution of all inter-token gaps; percentiles are exact to the bins' 0.1 %."""
    return Gaps(outcome).distribution()
