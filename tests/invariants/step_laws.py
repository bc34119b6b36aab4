"""Laws of a log of steps: devices do one thing at a time, groups step together, and who takes part has been admitted."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from simulator.outcome import StepLog
from tests.invariants.laws import SLACK_S, require
from tests.invariants.outcomes import ADMITTED, FINISHED, PREEMPTED, SCHEDULED


def all_of_one_log(log: StepLog, limits: Any) -> None:
    """The laws that every log of steps keeps."""
    steps_follow_each_other(log, limits)
    groups_step_together(log, limits)
    steps_add_up(log, limits)
    who_takes_part_was_admitted(log)
    stages_never_overlap(log)


def steps_follow_each_other(log: StepLog, limits: Any) -> None:
    """An engine decides before it starts, ends in order, and has no more steps under way than it may have."""
    for engine in np.unique(log.steps["engine"]):
        steps = log.steps[(log.steps["engine"] == engine) & (log.steps["tokens"] > 0)]
        require((steps["start_s"] >= steps["sched_s"]).all(), "a step starts after it was decided")
        require((np.diff(steps["end_s"]) > 0).all(), "steps end in order")
        depth = limits.steps_in_flight
        require((steps["sched_s"][depth:] >= steps["end_s"][:-depth]).all(), "no more steps are under way than allowed")
        if limits.pipeline_stages == 1:
            require((steps["start_s"][1:] >= steps["end_s"][:-1]).all(), "a device does one step at a time")


def groups_step_together(log: StepLog, limits: Any) -> None:
    """Engines of a group that have work at the same time start and end it together."""
    together: dict[tuple[int, float], set[float]] = defaultdict(set)
    for step in log.steps[log.steps["tokens"] > 0]:
        together[int(step["engine"]) // limits.group, float(step["sched_s"])].add(float(step["end_s"]))
    if limits.steps_in_flight == 1:
        for (group, at), ends in together.items():
            require(len(ends) == 1, "a group steps together", f"group {group} at {at} s")
    steps = log.steps[log.steps["tokens"] > 0]
    for group in np.unique(steps["engine"] // limits.group):
        spans = np.unique(steps[steps["engine"] // limits.group == group][["start_s", "end_s"]])
        if limits.pipeline_stages == 1:
            require((spans["start_s"][1:] >= spans["end_s"][:-1]).all(), "a group steps together", f"group {group}")


def steps_add_up(log: StepLog, limits: Any) -> None:
    """A step's tokens are those of who takes part, and blocks are neither made nor lent twice."""
    given = log.entries[log.entries["kind"] == SCHEDULED]
    tokens = np.bincount(given["step"], weights=given["amount"], minlength=len(log.steps))
    require(np.array_equal(tokens, log.steps["tokens"]), "a step's tokens are those of its requests")
    count = np.bincount(given["step"], minlength=len(log.steps))
    require(np.array_equal(count, log.steps["scheduled"]), "a step's requests are counted")
    free = log.steps["free_blocks"]
    require(((free >= 0) & (free <= limits.kv_blocks)).all(), "the pool bounds what is held")
    require((log.steps["num_running"] <= limits.max_num_seqs).all(), "seats bound who runs")


def who_takes_part_was_admitted(log: StepLog) -> None:
    """Only who was admitted, and neither preempted nor finished since, takes part in a step."""
    running: set[int] = set()
    steps = log.steps
    events = [
        (float(steps["end_s" if entry["kind"] == FINISHED else "sched_s"][entry["step"]]), entry["step"], entry)
        for entry in log.entries
    ]
    # At one instant tokens land before anything is decided; within a decision, preemptions come first.
    rank = {FINISHED: 0, PREEMPTED: 1, ADMITTED: 2, SCHEDULED: 3}
    for _, _, entry in sorted(events, key=lambda e: (e[0], rank[int(e[2]["kind"])] > 0, e[1], rank[int(e[2]["kind"])])):
        kind, request = int(entry["kind"]), int(entry["request"])
        if kind == ADMITTED:
            require(request not in running, "nobody is admitted twice", request)
            running.add(request)
        elif kind == SCHEDULED:
            require(request in running, "only who was admitted takes part", request)
        else:
            running.discard(request)


def stages_never_overlap(log: StepLog) -> None:
    """Each stage of a pipeline works on one step at a time, and each step passes the stages in order."""
    engines = log.steps["engine"][log.passes["step"]]
    by_step = log.passes[np.lexsort((log.passes["stage"], log.passes["step"]))]
    same = by_step["step"][1:] == by_step["step"][:-1]
    require((by_step["start_s"][1:] >= by_step["end_s"][:-1] - SLACK_S)[same].all(), "stages follow each other")
    for engine in np.unique(engines):
        for stage in np.unique(log.passes["stage"]):
            spans = np.sort(log.passes[(engines == engine) & (log.passes["stage"] == stage)], order="start_s")
            apart = spans["start_s"][1:] >= spans["end_s"][:-1]
            require(apart.all(), "stages never overlap", f"engine {engine}, stage {stage}")


def logs_agree(one: StepLog, other: StepLog) -> None:
    """Two engines decide the same steps, row by row: times but for rounding, everything else exactly."""
    for engine in np.union1d(one.steps["engine"], other.steps["engine"]):
        a, b = (rows_of(log, int(engine)) for log in (one, other))
        for number, (mine, theirs) in enumerate(zip(a, b, strict=False)):
            require(mine[1:] == theirs[1:], "engines decide the same", f"engine {engine}, step {number}: {mine}, {theirs}")
            close = np.allclose(mine[0], theirs[0], rtol=1e-9, atol=SLACK_S)
            require(close, "engines agree on times", f"engine {engine}, step {number}: {mine[0]}, {theirs[0]}")
        require(len(a) == len(b), "engines take the same steps", f"engine {engine}: {len(a)} and {len(b)}")


def rows_of(log: StepLog, engine: int) -> list[tuple[Any, ...]]:
    """Returns an engine's steps: times, numbers, and who took part in which way."""
    by_step: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for entry in log.entries:
        by_step[int(entry["step"])].append((int(entry["kind"]), int(entry["request"]), int(entry["amount"])))
    numbers = ("tokens", "kv_tokens", "scheduled", "num_running", "num_waiting", "free_blocks")
    return [
        (
            tuple(float(step[name]) for name in (("sched_s", "start_s", "end_s") if step["tokens"] else ("sched_s",))),
            {name: int(step[name]) for name in numbers},
            *([entry[1:] for entry in by_step[place] if entry[0] == kind] for kind in (SCHEDULED, ADMITTED, PREEMPTED, FINISHED)),
        )
        for place, step in enumerate(log.steps)
        if step["engine"] == engine
    ]
