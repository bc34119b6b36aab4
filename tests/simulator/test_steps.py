"""The file of steps: its columns, its formats, and to which step a finished request belongs."""

from __future__ import annotations

import csv
import io
from itertools import pairwise

import numpy as np
import pytest

from simulator import steps
from simulator.steps import STEP_COLUMNS, write_steps
from tests.simulator import logs


def written() -> list[dict[str, str]]:
    """Returns the rows of the file."""
    file = io.StringIO()
    write_steps(file, logs.outcome(), logs.traffic())
    assert "\r" not in file.getvalue()
    return list(csv.DictReader(io.StringIO(file.getvalue())))


def test_the_columns_are_those_of_the_recordings_and_the_engine() -> None:
    recorded = (
        "step,sched_s,start_s,end_s,tokens,kv_tokens,scheduled,admitted,preempted,num_running,num_waiting,free_blocks,finished"
    )
    assert ",".join(STEP_COLUMNS) == recorded + ",engine"


def test_a_row_says_what_was_decided() -> None:
    assert written()[1] == {
        "step": "1",
        "sched_s": "0.0",
        "start_s": "0.1",
        "end_s": "0.2",
        "tokens": "5",
        "kv_tokens": "11",
        "scheduled": "10:1;11:4",
        "admitted": "11:2",
        "preempted": "",
        "num_running": "2",
        "num_waiting": "0",
        "free_blocks": "7",
        "finished": "",
        "engine": "0",
    }


def test_finished_requests_are_of_the_step_that_gave_the_token() -> None:
    rows = written()
    assert [row["finished"] for row in rows] == ["", "", "14", "", "", "10", "11"]
    assert [row["preempted"] for row in rows] == ["", "", "", "11", "10", "", ""]
    assert [row["engine"] for row in rows] == ["0", "0", "1", "0", "0", "0", "0"]


def test_all_that_happened_is_written_once_whatever_is_written_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written()
    monkeypatch.setattr(steps, "CHUNK", 2)
    assert written() == whole
    columns = ("scheduled", "admitted", "preempted", "finished")
    assert sum(len(row[column].split(";")) for row in whole for column in columns if row[column]) == len(logs.ENTRIES)


def test_times_are_kept_to_the_last_bit() -> None:
    run = logs.outcome()
    log = run.steps
    log.steps["end_s"] = np.random.default_rng(0).random(len(log.steps)) / 3
    file = io.StringIO()
    write_steps(file, run, logs.traffic())
    assert [float(row["end_s"]) for row in csv.DictReader(io.StringIO(file.getvalue()))] == log.steps["end_s"].tolist()


def test_a_run_without_steps_has_a_heading_alone() -> None:
    run = logs.outcome()
    run.steps.steps, run.steps.entries = run.steps.steps[:0], run.steps.entries[:0]
    file = io.StringIO()
    write_steps(file, run, logs.traffic())
    assert file.getvalue() == ",".join(STEP_COLUMNS) + "\n"


def test_a_real_run_adds_up() -> None:
    outcome, requests = logs.simulated(replicas=2, router="least_outstanding", num_gpu_blocks_override=60)
    file = io.StringIO()
    write_steps(file, outcome, requests)
    rows = list(csv.DictReader(io.StringIO(file.getvalue())))
    listed = {column: [item for row in rows for item in row[column].split(";") if item] for column in ("finished", "preempted")}
    assert sorted(map(int, listed["finished"])) == requests.row.tolist(), "everybody finishes once"
    assert len(listed["preempted"]) == outcome.preemptions.sum() > 0
    tokens = [int(item.split(":")[1]) for row in rows for item in row["scheduled"].split(";") if item]
    assert sum(tokens) == sum(int(row["tokens"]) for row in rows) == outcome.scheduled_tokens
    ends = {int(name): float(row["end_s"]) for row in rows for name in row["finished"].split(";") if name}
    assert [ends[name] for name in requests.row.tolist()] == outcome.finished_at.tolist()
    for engine in ("0", "1"):
        own = [row for row in rows if row["engine"] == engine]
        assert [int(row["step"]) for row in own] == list(range(len(own)))
        assert all(float(one["end_s"]) <= float(other["start_s"]) for one, other in pairwise(own))
    times = [float(row["sched_s"]) for row in rows]
    assert times == sorted(times)


def test_a_run_in_which_nobody_is_served_has_a_heading_alone() -> None:
    outcome, requests = logs.simulated(max_model_len=1, num_gpu_blocks_override=1)
    assert outcome.rejected.all()
    file = io.StringIO()
    write_steps(file, outcome, requests)
    assert file.getvalue() == ",".join(STEP_COLUMNS) + "\n"


def test_a_run_that_recorded_nothing_is_refused() -> None:
    run = logs.outcome()
    run.steps = None
    with pytest.raises(ValueError, match="did not record"):
        write_steps(io.StringIO(), run, logs.traffic())
