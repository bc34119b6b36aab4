"""Scripts of trials: the engine's command, what to expect of it, and nothing that a name could smuggle in."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from db import queries
from db.rows import TrialRow
from db.session import open_store
from deploy.launch import launcher
from search import launch
from search.cli import main
from search.request import SearchRequest
from simulator.spec.deployment import Resolved
from tests.search.test_cli import REQUEST, stored

Make = Callable[..., TrialRow]
ERROR = {"rate_rps": 12.3, "expected_error": {"text": "expected error: TTFT -8 % to +9 % propagated"}}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRIMTAB_DB", raising=False)


def run_with_a_fake(script: str, program: str) -> list[str]:
    """Returns the arguments that the script gives to its program."""
    folder = Path("bin")
    folder.mkdir()
    fake = folder / program
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$0" "$@"\n')
    fake.chmod(0o755)
    path = f"{folder.resolve()}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["sh", script], capture_output=True, text=True, check=True, env={**os.environ, "PATH": path})
    return done.stdout.splitlines()


def test_a_script_serves_the_trial_and_says_what_to_expect(trial: Make, capsys: pytest.CaptureFixture[str]) -> None:
    made = trial(0, {"tensor_parallel_size": 2, "replicas": 3, "scheduling_policy": "priority"})
    study = stored("trimtab.db", [replace(made, provenance={"expected_errors": [ERROR]})])
    assert main(["launch", "chat-8b", "0", "--engine", "vllm", "--out", "a/b", "--model", "/models/my weights"]) == 0
    assert capsys.readouterr().out == "a/b/vllm.sh\n" and os.access("a/b/vllm.sh", os.X_OK)
    head = Path("a/b/vllm.sh").read_text(encoding="utf-8").split("set -eu")[0]
    for told in (
        f"study chat-8b ({study}), trial 0",
        "meta-llama/Llama-3.1-8B on H100-SXM, resolved for vllm-0.19",
        "a replica runs on 2 H100-SXM (TP2); 3 of them, behind a router: round_robin",
        "p5.4xlarge of AWS: 6.88 USD an hour",
        "at 12.3 requests per second",
        "ttft_s: mean 1.98, p50 1.98, p99 1.98",
        "objective ttft_p99_s: 1.4",
        ERROR["expected_error"]["text"],  # type: ignore[index]
    ):
        assert told in head, told
    program, *told_to = run_with_a_fake("a/b/vllm.sh", "vllm")
    assert told_to[:2] == ["serve", "/models/my weights"]
    knobs = launcher("vllm").parse([Path(program).name, *told_to])
    deployment = Resolved.parse(made.deployment)
    assert knobs["tensor_parallel_size"] == 2 and all(getattr(deployment, knob) == value for knob, value in knobs.items())


@pytest.mark.parametrize(
    ("engine", "knobs"),
    [("sglang", {"engine": "sglang-0.5"}), ("torch", {"cudagraph_mode": "NONE"}), ("vllm", {"num_gpu_blocks_override": 9000})],
)
def test_every_engine_has_a_script_that_a_shell_reads(
    engine: str, knobs: dict[str, Any], trial: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    made = trial(0, knobs)
    study = stored("trimtab.db", [made])
    assert main(["launch", study, "0", "--engine", engine]) == 0
    text = capsys.readouterr().out
    assert "expected error: not worked out, as for every trial that is not on the frontier" in text
    command = shlex.split(text.split("exec ")[1].replace("\\\n", ""))
    deployment = Resolved.parse(made.deployment)
    assert command == list(launcher(engine).arguments(deployment, deployment.model, 8000))


def test_a_name_cannot_leave_its_comment(trial: Make) -> None:
    evil = "chat\ntouch smuggled\r\u2028touch smuggled\x0btouch smuggled"
    study = stored("trimtab.db", [trial(0)], request=SearchRequest.parse({**REQUEST, "name": evil}))
    with open_store("trimtab.db") as store:
        text = launch.script(store, study, 0, "vllm", "$(touch smuggled)`touch smuggled`'; touch smuggled; '")
    launch.write(text, Path("."), "vllm.sh")
    told = run_with_a_fake("vllm.sh", "vllm")
    assert told[2] == "$(touch smuggled)`touch smuggled`'; touch smuggled; '" and not Path("smuggled").exists()


def test_check_compares_and_writes_nothing(trial: Make, capsys: pytest.CaptureFixture[str]) -> None:
    stored("trimtab.db", [trial(0)])
    asked = ["launch", "chat-8b", "0", "--engine", "vllm"]
    assert main([*asked, "--check"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "vllm can be told all of trial 0" and re.fullmatch(
        r"held to: 2\d options among .* of vllm serve 0.19.0", told[1]
    )
    assert main([*asked, "--out", "a", "--check"]) == 1 and not Path("a").exists()
    assert "a/vllm.sh cannot be read" in capsys.readouterr().err
    assert main([*asked, "--out", "a"]) == 0 == main([*asked, "--out", "a", "--check"])
    script = Path("a/vllm.sh")
    script.write_text(script.read_text().replace("--block-size 16", "--block-size 32"))
    capsys.readouterr()
    assert main([*asked, "--out", "a", "--check"]) == 1
    assert "is not what would be written: line" in capsys.readouterr().err
    assert "--block-size 32" in script.read_text()


@pytest.mark.parametrize(
    ("more", "status", "told"),
    [
        (["0", "--engine", "vlm"], 2, "--engine: 'vlm' is not allowed; allowed: vllm"),
        (["9", "--engine", "vllm"], 2, "trial: 9 is not allowed"),
        (["0", "--engine", "sglang"], 2, "engine: 'vllm-0.19' is not allowed; allowed: sglang-0.5"),
        (["0", "--engine", "torch"], 2, "cudagraph_mode: 'FULL_AND_PIECEWISE' is not allowed"),
        (["1", "--engine", "vllm"], 1, "is infeasible: too slow"),
        (["0", "--engine", "vllm", "--out", "trimtab.db/a"], 2, "--out: 'trimtab.db/a' is not allowed"),
        (["0"], 2, "--engine"),
        (["0", "--load-test", "--model", "/models/a"], 2, "--load-test: 'given' is not allowed"),
        (["0", "--load-test", "--check"], 2, "--out: missing"),
        *(
            (["0", "--engine", "vllm", "--on", "kubernetes", "--node-selector", label], 2, f"--node-selector: {label!r} is not")
            for label in ("pool", "bad key=a", "pool=a b", "a/b/c=d", "pool=-", "=x")
        ),
        (["0", "--engine", "vllm", "--on", "compose", "--model", "../weights"], 2, "--model: '../weights' is not allowed"),
    ],
)
def test_what_cannot_be_launched_is_told_in_one_line(
    more: list[str], status: int, told: str, trial: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    stored("trimtab.db", [trial(0), trial(1, {"block_size": 32}, state="infeasible", reason="too slow")])
    assert main(["launch", "chat-8b", *more]) == status
    captured = capsys.readouterr()
    assert told in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_a_head_says_what_it_was_asked_with(trial: Make, capsys: pytest.CaptureFixture[str]) -> None:
    stored("trimtab.db", [trial(0)])
    asked = ["launch", "chat-8b", "0", "--engine", "vllm", "--on", "kubernetes", "--model", "/srv/my weights", "--port", "9000"]
    assert main([*asked, "--image", "own/vllm:1", "--node-selector", "example.com/pool=h100"]) == 0
    first, *_ = capsys.readouterr().out.splitlines()
    told = "--model '/srv/my weights' --port 9000 --image own/vllm:1 --node-selector example.com/pool=h100"
    assert first.endswith(f" 0 --engine vllm --on kubernetes {told}")


@pytest.mark.parametrize(("image", "mounted"), [(None, True), ("own/vllm:1", False)])
def test_a_folder_is_mounted_unless_it_is_of_an_image_of_ones_own(image: str | None, mounted: bool, trial: Make) -> None:
    study = stored("trimtab.db", [trial(0)])
    with open_store("trimtab.db") as store:
        text = launch.manifest(store, study, 0, "vllm", launch.On("kubernetes", image), "/srv/weights")
    assert ("mountPath: /srv/weights" in text) == mounted and "- /srv/weights\n" in text


def test_replicas_of_a_plan_are_told(trial: Make) -> None:
    study = stored("trimtab.db", [trial(0)])
    with open_store("trimtab.db") as store:
        on = launch.On("kubernetes", replicas_by_hour=(2,) * 100 + (5,) * 68, start_up_s=300)
        text = launch.manifest(store, study, 0, "vllm", on)
    assert "# the plan has 2 to 5 replicas, by the hour of the week in UTC, started 300 s before; the figures" in text
    assert "start: 55 3 * * 5" in text and text.startswith(f"# trimtab launch {study} 0 --engine vllm --on kubernetes --plan PLAN")


def test_a_trial_without_a_published_point_says_so(trial: Make) -> None:
    study = stored("trimtab.db", [trial(0)])
    with open_store("trimtab.db") as store:
        row, found = queries.study(store, study), queries.trial(store, study, 0)
        assert "no operating point" in list(launch.told(row, found, [], Resolved.parse(found.deployment)))[-1]
