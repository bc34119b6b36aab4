"""A run as a trace for Perfetto (ui.perfetto.dev) or chrome://tracing, in the Trace Event Format.

Every engine is a process: its iterations on a thread a pipeline stage, and counters of its queue and of its KV pool. One
more process has the requests: an async track each, on which its phases follow one another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from simulator.kernel.journal import ADMITTED, PREEMPTED, SCHEDULED
from simulator.steps import entries_by_step, step_numbers

if TYPE_CHECKING:
    from simulator.outcome import Outcome
    from simulator.traffic import Traffic

# Beyond this a viewer takes minutes to load the file.
MOST_STEPS, MOST_REQUESTS = 100_000, 20_000
REQUESTS, FIRST_ENGINE = 1, 2
Event = dict[str, Any]
Phase = tuple[str, float, float]


def write_timeline(file: TextIO, outcome: Outcome, traffic: Traffic) -> tuple[str, ...]:
    """Writes the recorded run as one JSON document, times in microseconds to the nanosecond; returns notes on what it left out.

    Raises ValueError when the run did not record its steps.
    """
    if outcome.steps is None:
        raise ValueError("the run did not record its steps")
    steps, entries = outcome.steps.steps[:MOST_STEPS], entries_by_step(outcome.steps)
    entries = entries[: np.searchsorted(entries["step"], len(steps))]
    lives = Lives(outcome, traffic, steps, entries)
    notes = _notes(len(outcome.steps.steps), lives)
    file.write(f'{{"displayTimeUnit": "ms", "otherData": {json.dumps({"notes": notes})}, "traceEvents": [\n')
    passes = outcome.steps.passes
    passes = passes[: np.searchsorted(passes["step"], len(steps))]
    arguments = _arguments(steps, step_numbers(outcome.steps), entries)
    stages = int(passes["stage"].max(initial=0)) + 1
    events = chain(
        _names(steps, stages, notes),
        _iterations(steps, passes, arguments),
        _preemptions(steps, arguments),
        _counters(steps),
        lives.events(),
    )
    for number, event in enumerate(events):
        file.write(("," if number else "") + json.dumps(event, separators=(",", ":"), allow_nan=False) + "\n")
    file.write("]}\n")
    return notes


def _notes(steps: int, lives: Lives) -> tuple[str, ...]:
    notes = []
    if steps > MOST_STEPS:
        notes.append(f"the timeline holds the first {MOST_STEPS:,} of {steps:,} iterations, up to {lives.until:.3f} s")
    if len(lives.begun) > MOST_REQUESTS:
        notes.append(f"the timeline holds the first {MOST_REQUESTS:,} of {len(lives.begun):,} requests")
    return tuple(notes)


def _nanoseconds(seconds: NDArray[np.float64]) -> list[int]:
    # Rounded first and subtracted then, so that neighbours touch and never overlap.
    whole: list[int] = np.rint(seconds * 1e9).astype(np.int64).tolist()
    return whole


def _metadata(name: str, process: int, argument: str, value: str | int, thread: int = 0) -> Event:
    return {"ph": "M", "name": name, "pid": process, "tid": thread, "args": {argument: value}}


def _names(steps: NDArray[Any], stages: int, notes: Sequence[str]) -> Iterator[Event]:
    titles = {FIRST_ENGINE + r: f"engine {r}" for r in np.unique(steps["engine"]).tolist()} | {REQUESTS: "requests"}
    for place, (process, title) in enumerate(titles.items()):
        yield _metadata("process_name", process, "name", title)
        yield _metadata("process_sort_index", process, "sort_index", place)
        if notes:
            yield _metadata("process_labels", process, "labels", "; ".join(notes))
        for stage in range(stages if process != REQUESTS else 0):
            yield _metadata("thread_name", process, "name", f"stage {stage}", thread=stage + 1)


# Engines


def _arguments(steps: NDArray[Any], numbers: NDArray[np.int64], entries: NDArray[Any]) -> list[Event]:
    """Returns for every step what a viewer shows when it is chosen."""
    scheduled = entries["kind"] == SCHEDULED
    counts = {
        "step": numbers[: len(steps)],
        "tokens": steps["tokens"],
        "requests": steps["scheduled"],
        "decodes": np.bincount(entries["step"][scheduled & (entries["amount"] == 1)], minlength=len(steps)),
        "kv_tokens": steps["kv_tokens"],
        "preempted": np.bincount(entries["step"][entries["kind"] == PREEMPTED], minlength=len(steps)),
    }
    columns = zip(*(column.tolist() for column in counts.values()), strict=True)
    return [dict(zip(counts, values, strict=True)) for values in columns]


def _iterations(steps: NDArray[Any], passes: NDArray[Any], arguments: list[Event]) -> Iterator[Event]:
    """Yields a complete event for every step on every stage."""
    engines = steps["engine"][passes["step"]].tolist()
    spans = (_nanoseconds(passes["start_s"]), _nanoseconds(passes["end_s"]))
    for k, stage, engine, start, end in zip(passes["step"].tolist(), passes["stage"].tolist(), engines, *spans, strict=True):
        decodes, requests = arguments[k]["decodes"], arguments[k]["requests"]
        name = "decode" if decodes == requests else "mixed" if decodes else "prefill"
        place = {"pid": FIRST_ENGINE + engine, "tid": stage + 1, "ts": start / 1e3, "dur": (end - start) / 1e3}
        yield {"ph": "X", "name": name, **place, "args": arguments[k]}


def _preemptions(steps: NDArray[Any], arguments: list[Event]) -> Iterator[Event]:
    """Yields an instant for every step that took requests from the engine, where it was decided."""
    times = _nanoseconds(steps["sched_s"])
    for k, engine in enumerate(steps["engine"].tolist()):
        if arguments[k]["preempted"]:
            place = {"pid": FIRST_ENGINE + engine, "tid": 1, "ts": times[k] / 1e3}
            yield {"ph": "i", "s": "t", "name": "preemption", **place, "args": arguments[k]}


def _counters(steps: NDArray[Any]) -> Iterator[Event]:
    """Yields the queue's and the KV pool's sizes of every engine after each decision that changed them."""
    for engine in np.unique(steps["engine"]).tolist():
        own = steps[steps["engine"] == engine]
        times = _nanoseconds(own["sched_s"])
        for name, fields in (("requests", ("num_running", "num_waiting")), ("KV", ("free_blocks",))):
            values = np.stack([own[field] for field in fields], axis=1)
            changed = np.ones(len(own), dtype=bool)
            changed[1:] = (values[1:] != values[:-1]).any(axis=1)
            labels = [field.removeprefix("num_").replace("_", " ") for field in fields]
            for k in np.flatnonzero(changed).tolist():
                arguments = dict(zip(labels, values[k].tolist(), strict=True))
                yield {"ph": "C", "name": name, "pid": FIRST_ENGINE + engine, "ts": times[k] / 1e3, "args": arguments}


# Requests


class Segment(NamedTuple):
    """What a request got between one admission and the next: the times of its steps, and when it was preempted."""

    admitted_at: float
    computed: NDArray[np.int64]  # tokens computed after each of its steps
    ends: NDArray[np.float64]  # of its steps
    preempted_at: float  # infinite: never


class Lives:
    """The requests of the steps that the timeline holds, and the phases that each goes through."""

    def __init__(self, outcome: Outcome, traffic: Traffic, steps: NDArray[Any], entries: NDArray[Any]) -> None:
        self.outcome, self.steps = outcome, steps
        self.until = float(steps["end_s"].max(initial=0.0))
        gone = outcome.arrived_at + traffic.cancel_after_s
        self.ends = np.fmin(np.where(np.isnan(outcome.finished_at), gone, outcome.finished_at), self.until)
        self.begun = np.flatnonzero(~outcome.rejected & (outcome.arrived_at < self.until))
        of_requests = entries[np.isin(entries["kind"], (SCHEDULED, ADMITTED, PREEMPTED))]
        self.entries = of_requests[np.argsort(of_requests["request"], kind="stable")]

    def events(self) -> Iterator[Event]:
        """Yields the beginning and the end of every request and of its phases, which lie within it."""
        for i in self.begun[:MOST_REQUESTS].tolist():
            arrived, end, outcome = float(self.outcome.arrived_at[i]), float(self.ends[i]), self.outcome
            arguments = {
                "request": int(outcome.row[i]),
                "class": outcome.class_names[outcome.class_of[i]],
                "prompt_tokens": int(outcome.prompt_tokens[i]),
                "output_tokens": int(outcome.output_tokens[i]),
                "engine": int(outcome.replica[i]),
                "preemptions": int(outcome.preemptions[i]),
            }
            spans = [("request", arrived, end), *self.phases(i)]
            yield _half("b", i, "request", arrived, arguments)
            for name, start, stop in spans[1:]:
                yield _half("b", i, name, start)
                yield _half("e", i, name, stop)
            yield _half("e", i, "request", end)

    def phases(self, i: int) -> list[Phase]:
        """Returns the phases of request `i` with their beginnings and ends in seconds, one after another without a gap."""
        known, prompt = int(self.outcome.prompt_tokens[i]), int(self.outcome.prompt_tokens[i])
        turns = [("queue", float(self.outcome.arrived_at[i]))]
        for segment in self.segments(i):
            turns.append(("prefill" if known == prompt else "recompute", segment.admitted_at))
            sampling = int(np.searchsorted(segment.computed, known))
            if sampling < len(segment.ends):
                turns.append(("decode", float(segment.ends[sampling])))
                known += len(segment.ends) - sampling
            if segment.preempted_at < np.inf:
                # Preempted with its first token in flight, it never came to decode.
                turns = [turn for turn in turns if turn[1] <= segment.preempted_at]
                turns.append(("preempted", segment.preempted_at))
        end = float(self.ends[i])
        bounds = [min(at, end) for _, at in turns] + [end]
        named = zip((name for name, _ in turns), pairwise(bounds), strict=True)
        return [(name, start, stop) for name, (start, stop) in named if stop > start]

    def segments(self, i: int) -> Iterator[Segment]:
        """Yields the admissions of request `i`, each with what it got until the next."""
        first, last = np.searchsorted(self.entries["request"], (i, i + 1))
        own = self.entries[first:last]
        begins = np.flatnonzero(own["kind"] == ADMITTED)
        for begin, end in pairwise((*begins.tolist(), len(own))):
            part = own[begin:end]
            given, lost = part[part["kind"] == SCHEDULED], part[part["kind"] == PREEMPTED]
            yield Segment(
                admitted_at=float(self.steps["sched_s"][part["step"][0]]),
                computed=part["amount"][0] + np.cumsum(given["amount"]),
                ends=self.steps["end_s"][given["step"]],
                preempted_at=float(self.steps["sched_s"][lost["step"][0]]) if len(lost) else np.inf,
            )


def _half(half: str, i: int, name: str, at: float, arguments: Event | None = None) -> Event:
    event: Event = {
        "ph": half,
        "cat": "request",
        "id": str(i),
        "name": name,
        "pid": REQUESTS,
        "tid": 1,
        "ts": round(at * 1e9) / 1e3,
    }
    return event if arguments is None else {**event, "args": arguments}
