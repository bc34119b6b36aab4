"""The files that `trimtab simulate` writes: which options it takes, and how they fit together."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

from search.cli import main

SCENARIO = {
    "deployment": {
        "model": "meta-llama/Llama-3.1-8B",
        "engine": "vllm-0.19",
        "device": "H200-SXM",
        "max_model_len": 512,
        "replicas": 2,
        "router": "session_affinity",
    },
    "workload": {"trace": "trace.csv"},
    "profiles": [{"source": "linear", "base_s": 5e-3, "per_token_s": 2e-5}],
}
# The second row is dropped, since it has no output; the last is rejected, since it is too long.
TRACE = [(0.0, 100, 5), (0.1, 100, 0), (0.2, 50, 1), (0.3, 700, 5)]


@pytest.fixture(autouse=True)
def _scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("scenario.yaml").write_text(yaml.safe_dump(SCENARIO))
    rows = [("arrived_at", "num_prefill_tokens", "num_decode_tokens"), *TRACE]
    Path("trace.csv").write_text("\n".join(",".join(map(str, row)) for row in rows) + "\n")


def test_all_files_name_requests_by_their_row_of_the_trace(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--requests=requests.csv", "--steps=steps.csv", "--timeline=timeline.json")
    assert main(["simulate", "scenario.yaml", "--json", *options]) == 0
    out, err = capsys.readouterr()
    iterations = json.loads(out)["metrics"]["iterations"]
    assert err == ""
    requests, steps = (list(csv.DictReader(Path(name).read_text().splitlines())) for name in ("requests.csv", "steps.csv"))
    events = json.loads(Path("timeline.json").read_text())["traceEvents"]
    assert [row["request_id"] for row in requests] == ["0", "2", "3"]
    assert [row["rejected"] for row in requests] == ["0", "0", "1"]
    finished = {name: row for row in steps for name in row["finished"].split(";") if name}
    assert set(finished) == {"0", "2"}
    assert all(finished[row["request_id"]]["end_s"] == row["finished_s"] for row in requests[:2])
    assert all(finished[row["request_id"]]["engine"] == row["replica"] for row in requests[:2])
    assert {event["args"]["request"] for event in events if event["ph"] == "b" and event["name"] == "request"} == {0, 2}
    assert len(steps) == sum(event["ph"] == "X" for event in events) == iterations


def test_a_closed_loop_needs_no_rate(capsys: pytest.CaptureFixture[str]) -> None:
    workload = {"prompt_tokens": 50, "output_tokens": 5, "num_requests": 20, "users": 3, "think_time_s": 1.0}
    Path("scenario.yaml").write_text(yaml.safe_dump({**SCENARIO, "workload": workload}))
    assert main(["simulate", "scenario.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["requests"] == 20


def test_the_answer_is_the_same_with_and_without_files(capsys: pytest.CaptureFixture[str]) -> None:
    answers = []
    for options in ([], ["--steps=steps.csv", "--timeline=timeline.json"]):
        assert main(["simulate", "scenario.yaml", "--json", *options]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0]["metrics"] == answers[1]["metrics"]


@pytest.mark.parametrize("option", ["--requests", "--steps", "--timeline"])
def test_a_file_that_cannot_be_written_is_refused_first(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "scenario.yaml", "--requests=requests.csv", f"{option}=no/such/folder/file"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith(f"{option}: ")
    assert not Path("requests.csv").exists()


def test_a_timeline_that_was_cut_says_so_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("simulator.timeline.MOST_STEPS", 2)
    assert main(["simulate", "scenario.yaml", "--json", "--timeline=timeline.json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["metrics"]["requests"] == 3
    assert err.startswith("the timeline holds the first 2 of ")
