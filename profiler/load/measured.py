"""What a load met: timestamps as those of a simulated run, and what the client alone can tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.load.client import Reply
from profiler.load.lag import Lag
from profiler.load.target import Target
from simulator.measure import metrics
from simulator.outcome import Outcome
from simulator.spec.metrics import Metrics
from simulator.spec.prices import Bill
from simulator.spec.slo import Slo
from simulator.traffic import Traffic

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Measured:
    """One run on a server; `outcome` has NaN and 0 for what only the engine knows (its queue, batches, blocks).

    faults[kind] counts the requests that went wrong, `reasons` has the first of each kind; `prompt_mismatches` and
    `output_mismatches` count answers whose tokens are not as many as asked for, `uncounted` those without a usage count;
    `bundled` counts events that held several tokens, whose gaps are then not known one by one.
    """

    target: Target
    outcome: Outcome
    lag: Lag
    started_at: datetime
    faults: dict[str, int]
    reasons: dict[str, str]
    prompt_mismatches: int
    output_mismatches: int
    uncounted: int
    bundled: int

    def metrics(self, slo: Slo | None = None, bill: Bill | None = None) -> Metrics:
        """Returns the numbers of the run by the one definition; what only an engine knows is 0 or None."""
        return metrics(self.outcome, None, slo, bill)

    @property
    def kept(self) -> bool:
        """Whether the schedule was kept well enough for the run to be reported."""
        return self.lag.kept(self.metrics().ttft_s)

    def document(self, slo: Slo | None = None, bill: Bill | None = None) -> dict[str, Any]:
        """Returns the run as JSON has it."""
        found = self.metrics(slo, bill)
        return {
            "metrics": found.model_dump(mode="json"),
            "lag": self.lag.document(found.ttft_s),
            "faults": self.faults,
            "reasons": self.reasons,
            "prompt_mismatches": self.prompt_mismatches,
            "output_mismatches": self.output_mismatches,
            "uncounted": self.uncounted,
            "bundled_events": self.bundled,
            "started_at": self.started_at.isoformat(),
            "target": {"url": self.target.url, "model": self.target.model, "api": self.target.api},
        }


def measured_of(target: Target, traffic: Traffic, replies: Sequence[Reply], start_s: float, lag: Lag) -> Measured:
    """Returns what the replies tell, their times counted from `start_s`, the zero of the traffic's clock."""
    faults = [reply.fault for reply in replies if reply.fault is not None]
    good = [(reply, request) for request, reply in enumerate(replies) if _finished(reply)]
    reasons: dict[str, str] = {}
    for fault in faults:
        reasons.setdefault(fault.kind, str(fault))
    counted = [(reply, request) for reply, request in good if reply.prompt_tokens is not None]
    return Measured(
        target=target,
        outcome=outcome_of_replies(traffic, replies, start_s),
        lag=lag,
        started_at=datetime.now(UTC),
        faults=dict(Counter(fault.kind for fault in faults)),
        reasons=reasons,
        prompt_mismatches=int(sum(reply.prompt_tokens != traffic.prompt_tokens[request] for reply, request in counted)),
        output_mismatches=int(sum(reply.produced != traffic.output_tokens[request] for reply, request in good)),
        uncounted=len(good) - len(counted),
        bundled=sum(count > 1 for reply in replies for count in reply.counts),
    )


def outcome_of_replies(traffic: Traffic, replies: Sequence[Reply], start_s: float) -> Outcome:
    """Returns the timestamps of the replies: an arrival is when a request was sent, a wrong answer counts as a rejection.

    Several tokens in one event came at one time. Tokens that were counted and not seen have no gaps.
    """
    count = len(replies)
    done = np.array([_finished(reply) for reply in replies], np.bool_)
    dropped = np.array([reply.dropped for reply in replies], np.bool_)
    first, last, longest = np.full(count, np.nan), np.full(count, np.nan), np.zeros(count)
    gaps: list[Floats] = []
    for request, reply in enumerate(replies):
        if reply.times:
            first[request], last[request] = reply.times[0] - start_s, reply.times[-1] - start_s
        if reply.fault is None:
            own = np.diff(np.repeat(reply.times, reply.counts))
            longest[request] = own.max(initial=0.0)
            gaps.append(own)
    ordered = np.sort(np.concatenate(gaps)) if gaps else np.empty(0)
    nothing, unknown = np.zeros(count, np.int64), np.full(count, np.nan)
    return Outcome(
        arrived_at=np.array([reply.sent_s - start_s for reply in replies]),
        prompt_tokens=traffic.prompt_tokens,
        output_tokens=np.where(done, [reply.produced for reply in replies], traffic.output_tokens),
        first_scheduled_at=unknown,
        first_token_at=first,
        finished_at=np.where(done, last, np.nan),
        itl_max=longest,
        preemptions=nothing,
        replica=nothing,
        rejected=~done & ~dropped,
        gap_count=np.ones(len(ordered), np.int64),
        gap_sum=ordered,
        iterations=0,
        scheduled_requests=0,
        scheduled_tokens=0,
        sampled_tokens=0,
        busy_s=0.0,
        block_seconds=0.0,
        replicas=1,
        kv_blocks=0,
        produced_tokens=np.array([reply.produced for reply in replies], np.int64),
        cached_tokens=np.array([reply.cached_tokens or 0 for reply in replies], np.int64),
        preempted_s=unknown,
        bubble_s=unknown,
        cancelled=dropped & ~traffic.expires,
        expired=dropped & traffic.expires,
        class_of=traffic.class_of,
        class_names=traffic.class_names,
        row=traffic.row,
        batch_sizes=np.zeros(1, np.int64),
        batch_tokens=np.zeros(1, np.int64),
        stage_busy_s=np.zeros(1),
        kv_peak_blocks=0,
        kv_tokens=0,
        stopped=False,
        steps=None,
        engine="measured",
    )


def _finished(reply: Reply) -> bool:
    return reply.fault is None and not reply.dropped and bool(reply.times)
