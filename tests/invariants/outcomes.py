"""The oracle's run in the simulator's words: an Outcome with exact gaps, and a log of steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator.outcome import ENTRIES, PASSES, STEPS, Outcome, StepLog
from simulator.traffic import Traffic
from tests import naive

SCHEDULED, ADMITTED, PREEMPTED, FINISHED = 0, 1, 2, 3


def outcome_of_naive(run: naive.Run, traffic: Traffic, replicas: int) -> Outcome:
    """Returns what happened to every request, and the totals over all engines."""
    requests, engines, knobs = run.requests, run.replicas, run.replicas[0].knobs
    gaps, counts = np.unique([gap for r in requests for gap in r.gaps], return_counts=True)
    steps = [step for engine in engines for step in engine.steps if step.scheduled]
    sizes, tokens = (np.bincount([f(step) for step in steps] or [0]) for f in (lambda s: len(s.scheduled), lambda s: s.tokens))
    if not steps:
        sizes, tokens = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
    return Outcome(
        arrived_at=np.array([r.arrived_at for r in requests]),
        prompt_tokens=traffic.prompt_tokens,
        output_tokens=traffic.output_tokens,
        first_scheduled_at=np.array([r.first_scheduled_at for r in requests]),
        first_token_at=np.array([r.token_times[0] if r.token_times else np.nan for r in requests]),
        finished_at=np.array([r.token_times[-1] if r.finished else np.nan for r in requests]),
        itl_max=np.array([max(r.gaps, default=0.0) for r in requests]),
        preemptions=np.array([r.preemptions for r in requests]),
        replica=np.array([r.replica for r in requests]),
        rejected=np.array([r.rejected for r in requests]),
        gap_count=counts,
        gap_sum=gaps * counts,
        iterations=sum(e.iterations for e in engines),
        scheduled_requests=sum(e.scheduled_requests for e in engines),
        scheduled_tokens=sum(e.scheduled_tokens for e in engines),
        sampled_tokens=sum(e.sampled_tokens for e in engines),
        busy_s=sum(e.busy_s for e in engines),
        block_seconds=sum(e.block_seconds for e in engines),
        replicas=replicas,
        kv_blocks=knobs.kv_blocks,
        produced_tokens=np.array([len(r.token_times) for r in requests]),
        cached_tokens=np.array([max(r.cached, 0) for r in requests]),
        preempted_s=np.array([r.preempted_s for r in requests]),
        bubble_s=np.array([r.bubble_s for r in requests]),
        cancelled=np.array([r.cancelled for r in requests]),
        expired=np.array([r.expired for r in requests]),
        class_of=traffic.class_of,
        class_names=traffic.class_names,
        row=traffic.row,
        batch_sizes=sizes,
        batch_tokens=tokens,
        stage_busy_s=np.sum([group.stage_busy_s for group in run.groups], axis=0),
        kv_peak_blocks=max(e.peak_blocks for e in engines),
        kv_tokens=sum(e.kv_tokens for e in engines),
        stopped=False,
        steps=log_of(run),
    )


def log_of(run: naive.Run) -> StepLog:
    """Returns every step and who took part, engine by engine."""
    rows: list[tuple[Any, ...]] = []
    entries: list[tuple[int, int, int, int]] = []
    passes: list[tuple[int, int, float, float]] = []
    for engine in run.replicas:
        for number, step in enumerate(engine.steps):
            place = len(rows)
            sizes = step.tokens, step.kv_tokens, len(step.scheduled), step.num_running, step.num_waiting, step.free_blocks
            rows.append((engine.number, number, 0, step.sched_s, step.start_s, step.end_s, *sizes))
            entries += [(SCHEDULED, place, request, tokens) for request, tokens in step.scheduled]
            entries += [(ADMITTED, place, request, hit) for request, hit in step.admitted]
            entries += [(PREEMPTED, place, request, 0) for request in step.preempted]
            entries += [(FINISHED, place, request, 0) for request in step.finished]
            passes += [(place, stage, start, end) for stage, (start, end) in enumerate(step.stages) if step.scheduled]
    return StepLog(np.array(rows, dtype=STEPS), np.array(entries, dtype=ENTRIES), np.array(passes, dtype=PASSES))
