"""The steps of a run as a file: one row an iteration of one engine, its decisions by request, in the order of time.

The columns are those of the recordings of vLLM's own scheduler, then the number of the engine.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from simulator.kernel.journal import ADMITTED, FINISHED, PREEMPTED, SCHEDULED

if TYPE_CHECKING:
    from simulator.outcome import Outcome, StepLog
    from simulator.traffic import Traffic

TIMES, SIZES = ("sched_s", "start_s", "end_s"), ("tokens", "kv_tokens")
STATE = ("num_running", "num_waiting", "free_blocks")
STEP_COLUMNS = ("step", *TIMES, *SIZES, "scheduled", "admitted", "preempted", *STATE, "finished", "engine")
# Steps that are turned into text at a time: their entries are Python objects meanwhile.
CHUNK = 10_000


def write_steps(file: TextIO, outcome: Outcome, traffic: Traffic) -> tuple[str, ...]:
    """Writes one CSV row a recorded step, requests named by their rows of the trace; returns notes, of which there are none.

    Times are in seconds on the traffic's clock, to the last bit. `scheduled` holds `id:tokens` in the scheduler's order,
    `admitted` holds `id:tokens found in the prefix cache`, several joined by `;`. Running and waiting requests and free
    blocks are counted after the decision; `finished` are those whose last token this step gave.
    Raises ValueError when the run did not record its steps.
    """
    if outcome.steps is None:
        raise ValueError("the run did not record its steps")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(STEP_COLUMNS)
    writer.writerows(step_rows(outcome.steps, outcome.row))
    return ()


def step_rows(log: StepLog, request_ids: NDArray[np.int64]) -> Iterator[tuple[Any, ...]]:
    """Yields the fields of each step in the order of STEP_COLUMNS; request_ids[N] name the N requests that the log numbers."""
    entries, numbers = entries_by_step(log), step_numbers(log)
    ends = np.searchsorted(entries["step"], np.arange(len(log.steps) + 1))
    for begin in range(0, len(log.steps), CHUNK):
        chunk = log.steps[begin : begin + CHUNK]
        bounds = ends[begin : begin + len(chunk) + 1]
        part = entries[bounds[0] : bounds[-1]]
        names = request_ids[part["request"]].tolist()
        told = list(zip(part["kind"].tolist(), names, part["amount"].tolist(), strict=True))
        columns = [chunk[name].tolist() for name in (*TIMES, *SIZES, *STATE, "engine")]
        spans = pairwise((bounds - bounds[0]).tolist())
        for number, (first, last), fields in zip(
            numbers[begin : begin + CHUNK].tolist(), spans, zip(*columns, strict=True), strict=True
        ):
            scheduled, admitted, preempted, finished = _told(told[first:last])
            times, sizes, state = fields[:3], fields[3:5], fields[5:8]
            yield (number, *map(repr, times), *sizes, scheduled, admitted, preempted, *state, finished, fields[8])


def _told(entries: list[tuple[int, int, int]]) -> tuple[str, str, str, str]:
    """Returns who was scheduled, admitted, preempted and finished, from (kind, name, tokens) of all that happened in a step."""
    return (
        ";".join(f"{name}:{tokens}" for kind, name, tokens in entries if kind == SCHEDULED),
        ";".join(f"{name}:{tokens}" for kind, name, tokens in entries if kind == ADMITTED),
        ";".join(str(name) for kind, name, _ in entries if kind == PREEMPTED),
        ";".join(str(name) for kind, name, _ in entries if kind == FINISHED),
    )


def step_numbers(log: StepLog) -> NDArray[np.int64]:
    """Returns the number of each step, int64[steps]: counted in its engine from 0, those that only preempted among them."""
    numbers = np.zeros(len(log.steps), dtype=np.int64)
    for engine in np.unique(log.steps["engine"]):
        own = log.steps["engine"] == engine
        numbers[own] = np.arange(np.count_nonzero(own))
    return numbers


def entries_by_step(log: StepLog) -> NDArray[Any]:
    """Returns the entries of the log, those of a step together and in their order.

    The log is in the order of time, in which a request finishes after later steps may have been decided.
    """
    entries: NDArray[Any] = log.entries
    steps = entries["step"]
    return entries if (steps[1:] >= steps[:-1]).all() else entries[np.argsort(steps, kind="stable")]
