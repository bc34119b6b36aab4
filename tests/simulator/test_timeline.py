"""The timeline: a trace that viewers read, whose slices nest and never overlap, and whose phases are the run's."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from simulator import catalog, timeline
from simulator.timeline import FIRST_ENGINE, REQUESTS, write_timeline
from tests.simulator import logs


def traced(outcome: Any = None, traffic: Any = None) -> dict[str, Any]:
    """Returns the document that a run is written as, checked for what every trace keeps."""
    file = io.StringIO()
    notes = write_timeline(file, outcome or logs.outcome(), traffic or logs.traffic())
    document: dict[str, Any] = json.loads(file.getvalue())
    assert document["otherData"]["notes"] == list(notes)
    check_trace(document["traceEvents"])
    return document


def check_trace(events: list[dict[str, Any]]) -> None:
    """Raises unless every event is of the format, slices of a thread do not overlap, and async ones nest."""
    named = {event["pid"] for event in events if event["ph"] == "M" and event["name"] == "process_name"}
    threads = {(event["pid"], event["tid"]) for event in events if event["ph"] == "M" and event["name"] == "thread_name"}
    assert {event["ph"] for event in events} <= set("MXiCbe")
    assert {event["pid"] for event in events} == named
    slices = defaultdict(list)
    stacks: dict[str, list[str]] = defaultdict(list)
    clocks: dict[str, float] = defaultdict(float)
    for event in events:
        assert event["ph"] == "M" or event["ts"] >= 0
        if event["ph"] in "Xi":
            assert (event["pid"], event["tid"]) in threads
        if event["ph"] == "X":
            assert event["dur"] > 0
            slices[event["pid"], event["tid"]].append((round(event["ts"] * 1e3), round((event["ts"] + event["dur"]) * 1e3)))
        if event["ph"] in "be":
            assert event["cat"] and event["ts"] >= clocks[event["id"]]
            clocks[event["id"]] = event["ts"]
            if event["ph"] == "b":
                stacks[event["id"]].append(event["name"])
            else:
                assert stacks[event["id"]].pop() == event["name"]
    assert not any(stacks.values())
    for spans in slices.values():
        ordered = sorted(spans)
        assert all(one[1] <= other[0] for one, other in pairwise(ordered))


def phases(document: dict[str, Any]) -> dict[str, list[tuple[str, float, float]]]:
    """Returns by request what it went through, in seconds."""
    found = defaultdict(list)
    for event in document["traceEvents"]:
        if event["ph"] == "b" and event["name"] != "request":
            found[event["id"]].append((event["name"], event["ts"] / 1e6))
    ends = {
        i: [
            event["ts"] / 1e6
            for event in document["traceEvents"]
            if event["ph"] == "e" and event["id"] == i and event["name"] != "request"
        ]
        for i in found
    }
    return {i: [(*begin, end) for begin, end in zip(begins, ends[i], strict=True)] for i, begins in found.items()}


def test_engines_are_processes_and_iterations_slices() -> None:
    events = traced()["traceEvents"]
    names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert names == {REQUESTS: "requests", FIRST_ENGINE: "engine 0", FIRST_ENGINE + 1: "engine 1"}
    slices = [event for event in events if event["ph"] == "X"]
    assert [(event["pid"] - FIRST_ENGINE, event["args"]["step"]) for event in slices] == [
        (step[0], step[1]) for step in logs.STEPS if step[8]
    ]
    assert [event["name"] for event in slices] == ["prefill", "mixed", "prefill", "decode", "prefill", "prefill"]
    assert slices[1]["args"] == {"step": 1, "tokens": 5, "requests": 2, "decodes": 1, "kv_tokens": 11, "preempted": 0}
    assert (slices[1]["ts"], slices[1]["dur"]) == (1e5, 1e5)
    instants = [event for event in events if event["ph"] == "i"]
    assert [(event["name"], event["ts"], event["args"]["step"]) for event in instants] == [
        ("preemption", 1e5, 2),
        ("preemption", 2e5, 3),
    ]


def test_counters_follow_decisions_and_repeat_nothing() -> None:
    counters = [event for event in traced()["traceEvents"] if event["ph"] == "C" and event["pid"] == FIRST_ENGINE]
    queue = [(event["ts"], *event["args"].values()) for event in counters if event["name"] == "requests"]
    assert queue == [(0, 1, 0), (0, 2, 0), (1e5, 1, 1), (2e5, 0, 2), (3e5, 1, 1), (4e5, 1, 0)]
    free = [event["args"]["free blocks"] for event in counters if event["name"] == "KV"]
    assert free == [9, 7, 8, 10, 8, 9]


def test_phases_are_those_of_the_run() -> None:
    found = phases(traced())
    approximately = {i: [(name, *map(pytest.approx, span)) for name, *span in spans] for i, spans in found.items()}
    assert approximately == {
        # Two tokens in decode, preempted, and all nine known tokens computed again.
        "0": [("prefill", 0.0, 0.1), ("decode", 0.1, 0.2), ("preempted", 0.2, 0.3), ("recompute", 0.3, 0.4)],
        # Preempted at 0.1 with its first token in flight: it never came to decode.
        "1": [("prefill", 0.0, 0.1), ("preempted", 0.1, 0.4), ("recompute", 0.4, 0.5)],
        "2": [("prefill", 0.05, 0.3)],
    }


def test_phases_fill_a_request_without_a_gap() -> None:
    document, run = traced(), logs.outcome()
    for i, spans in phases(document).items():
        assert spans[0][1] == pytest.approx(run.arrived_at[int(i)])
        assert spans[-1][2] == pytest.approx(run.finished_at[int(i)])
        assert all(one[2] == other[1] for one, other in pairwise(spans))


def test_a_request_is_told_by_its_row_of_the_trace() -> None:
    outer = [event["args"] for event in traced()["traceEvents"] if event["ph"] == "b" and event["name"] == "request"]
    assert [(each["request"], each["engine"], each["preemptions"]) for each in outer] == [(10, 0, 1), (11, 0, 1), (14, 1, 0)]


def test_a_cancelled_request_ends_when_it_was_dropped() -> None:
    run = logs.outcome()
    run.finished_at[1] = np.nan
    found = phases(traced(run, logs.traffic(np.array([np.inf, 0.35, np.inf, np.inf]))))
    name, *span = found["1"][-1]
    assert name == "preempted"
    assert span == pytest.approx([0.1, 0.35])


def test_a_long_run_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "MOST_STEPS", 4)
    monkeypatch.setattr(timeline, "MOST_REQUESTS", 2)
    document = traced()
    assert document["otherData"]["notes"] == [
        "the timeline holds the first 4 of 7 iterations, up to 0.300 s",
        "the timeline holds the first 2 of 3 requests",
    ]
    assert sum(event["ph"] == "X" for event in document["traceEvents"]) == 4
    found = phases(document)
    assert sorted(found) == ["0", "1"] and max(span[2] for spans in found.values() for span in spans) <= 0.3
    labels = [event["args"]["labels"] for event in document["traceEvents"] if event["name"] == "process_labels"]
    assert labels and all("first 4 of 7" in label for label in labels)


def test_a_pipeline_has_a_thread_a_stage() -> None:
    outcome, requests = logs.simulated(stages=4, replicas=2, max_num_seqs=8)
    assert outcome.steps is not None
    passes = outcome.steps.passes
    assert np.array_equal(passes["step"], np.repeat(np.arange(outcome.iterations), 4))
    assert np.array_equal(passes["stage"], np.tile(np.arange(4), outcome.iterations))
    by_stage = passes.reshape(-1, 4)
    assert (by_stage["start_s"][:, 1:] >= by_stage["end_s"][:, :-1]).all()
    assert np.array_equal(by_stage["start_s"][:, 0], outcome.steps.steps["start_s"])
    assert np.array_equal(by_stage["end_s"][:, 3], outcome.steps.steps["end_s"])
    assert (passes["end_s"] - passes["start_s"]).sum() == pytest.approx(outcome.busy_s)
    events = traced(outcome, requests)["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    assert {(event["pid"] - FIRST_ENGINE, event["tid"]) for event in slices} == {(r, s) for r in range(2) for s in range(1, 5)}
    assert len(slices) == 4 * outcome.iterations


@pytest.mark.parametrize("scheduler", catalog.names("schedulers"))
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_run_under_pressure_is_told_in_full(scheduler: str, asynchronous: bool) -> None:
    outcome, requests = logs.simulated(scheduler=scheduler, async_scheduling=asynchronous, num_gpu_blocks_override=60)
    assert outcome.preemptions.sum() > 0 or scheduler not in ("vllm_v1", "sarathi_serve")
    told = phases(traced(outcome, requests))
    for i, spans in told.items():
        assert spans[0][1] == pytest.approx(outcome.arrived_at[int(i)])
        assert spans[-1][2] == pytest.approx(outcome.finished_at[int(i)])
        first = next((start for name, start, _ in spans if name == "decode"), None)
        if outcome.preemptions[int(i)] == 0:
            assert [name for name, *_ in spans if name != "queue"] == (
                ["prefill"] if outcome.output_tokens[int(i)] == 1 else ["prefill", "decode"]
            )
            assert first is None or first == pytest.approx(outcome.first_token_at[int(i)])
        lost = sum(stop - start for name, start, stop in spans if name == "preempted")
        assert lost == pytest.approx(outcome.preempted_s[int(i)], abs=1e-8)


def test_a_run_that_recorded_nothing_is_refused() -> None:
    run = logs.outcome()
    run.steps = None
    with pytest.raises(ValueError, match="did not record"):
        write_timeline(io.StringIO(), run, logs.traffic())
