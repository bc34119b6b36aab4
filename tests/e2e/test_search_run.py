"""A study in a process of its own: interrupted, killed, resumed, and what it leaves in the folder."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
REQUEST: dict[str, Any] = {
    "name": "chat-8b",
    "model": "meta-llama/Llama-3.1-8B",
    "workload": {"preset": "chat"},
    "slo": {"ttft_p99_s": 2.0, "itl_p99_s": 0.2},
    "prices": "cloud-2026-11",
    "profiles": [{"source": "roofline"}],
    "space": {
        "device": ["H100-SXM", "L40S"],
        "tensor_parallel_size": [1, 2],
        "max_num_batched_tokens": [512, 2048],
        "max_model_len": 16384,
    },
    "budget": {"max_gpus": 8, "trials": 8},
}
# The command with short runs, and with trials slow enough to be caught at work where the environment says so.
TRIMTAB = """
import os, sys, time
from search import cli, driver
from search.fidelity import Fidelity
from search.trial import evaluate

driver.SCREEN = Fidelity(requests=300, seeds=1, tolerance=0.02, spread=0.2, latency_spread=0.5)
driver.RESCORE = Fidelity(requests=500, seeds=1, tolerance=0.02, spread=0.1, latency_spread=0.2)
driver.FINAL = Fidelity(requests=1_000, seeds=2, tolerance=0.02, spread=0.1, latency_spread=0.2)

def slow(task):
    time.sleep(float(os.environ.get("TRIAL_S", 0)))
    return evaluate(task)

driver.evaluate = slow
sys.exit(cli.main())
"""
FINAL_REQUESTS, RESCORE_REQUESTS = 1_000, 500
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRIMTAB_DB", raising=False)
    Path("request.yaml").write_text(yaml.safe_dump(REQUEST))
    Path("short_trimtab.py").write_text(TRIMTAB)


def start(*options: str, trial_s: float = 0.0, executor: str = "threads") -> subprocess.Popen[str]:
    """Returns a running `trimtab search` in a process group of its own."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "short_trimtab.py", "search", "request.yaml", "--json", "--executor", executor, *options],
        env={**os.environ, "PYTHONPATH": path, "TRIAL_S": str(trial_s), "RAY_AUTH_MODE": "disabled"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Returns the exit status and what was written, once the process has ended."""
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def stored(db: str = "trimtab.db") -> list[tuple[str, int, str]]:
    """Returns key, fidelity and state of every stored trial; nothing where there is no store yet."""
    if not Path(db).exists():
        return []
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True, timeout=30)) as connection:
        try:
            return connection.execute("select key, fidelity, state from trials order by number").fetchall()
        except sqlite3.OperationalError:
            return []


def wait_until(process: subprocess.Popen[str], holds: Callable[[], bool]) -> None:
    """Waits for the study to get so far."""
    deadline = time.monotonic() + 180
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def answer(text: str) -> dict[str, Any]:
    """Returns the printed document without the study's random id."""
    document: dict[str, Any] = json.loads(text)
    document["study"].pop("id")
    return document


def states(db: str = "trimtab.db") -> list[str]:
    """Returns the states of the stored studies."""
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True, timeout=30)) as connection:
        return [state for (state,) in connection.execute("select state from studies")]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Returns the answer of a study that nobody disturbed."""
    folder, before = tmp_path_factory.mktemp("whole"), Path.cwd()
    os.chdir(folder)
    try:
        Path("request.yaml").write_text(yaml.safe_dump(REQUEST))
        Path("short_trimtab.py").write_text(TRIMTAB)
        status, out, err = ended(start())
        assert status == 0, err
        return answer(out)
    finally:
        os.chdir(before)


def screened() -> bool:
    """Returns whether two trials are there."""
    return len(stored()) >= 2


def rescored() -> bool:
    """Returns whether the second phase has begun to write."""
    return any(fidelity == RESCORE_REQUESTS for _, fidelity, _ in stored())


def published() -> bool:
    """Returns whether the last phase has begun to write."""
    return any(fidelity == FINAL_REQUESTS for _, fidelity, _ in stored())


@pytest.mark.slow
@pytest.mark.parametrize("reached", [screened, rescored, published])
def test_ctrl_c_keeps_every_finished_trial_and_the_same_command_resumes(
    reached: Callable[[], bool], uninterrupted: dict[str, Any]
) -> None:
    process = start(trial_s=0.2)
    wait_until(process, reached)
    before = stored()
    process.send_signal(signal.SIGINT)
    status, out, err = ended(process)
    kept = stored()
    assert (status, out) == (130, "")
    assert err.splitlines()[-1] == f"interrupted: kept {len(kept)} trials; the same command resumes"
    assert "Traceback" not in err
    assert {key for key, _, _ in before} <= {key for key, _, _ in kept}
    assert all(level >= {k: f for k, f, _ in before}.get(key, 0) for key, level, _ in kept)
    assert states() == ["cancelled"]

    status, out, err = ended(start())
    assert status == 0, err
    assert f"which has {len(kept)} trials" in err
    assert answer(out) == uninterrupted
    assert states() == ["done"]


@pytest.mark.slow
@pytest.mark.parametrize("reached", [screened, published])
def test_a_killed_study_is_resumed_with_the_same_answer(reached: Callable[[], bool], uninterrupted: dict[str, Any]) -> None:
    process = start(trial_s=0.2)
    wait_until(process, reached)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kept = stored()
    assert len(kept) >= 2
    assert states() == ["running"]

    status, out, err = ended(start())
    assert status == 0, err
    assert f"which has {len(kept)} trials" in err
    assert answer(out) == uninterrupted
    assert states() == ["done"]


def test_nothing_feasible_ends_with_status_1_and_one_line() -> None:
    Path("request.yaml").write_text(yaml.safe_dump(REQUEST | {"slo": {"ttft_p99_s": 1e-6}}))
    status, out, err = ended(start())
    last = err.splitlines()[-1]
    assert status == 1
    assert "none of 8 deployments keeps the SLO; the first: ttft_p99_s is 0." in last
    assert "Traceback" not in err
    assert json.loads(out)["study"]["state"] == "infeasible" and json.loads(out)["items"] == []
    assert states() == ["infeasible"]


def test_no_point_of_the_printed_frontier_is_dominated(uninterrupted: dict[str, Any]) -> None:
    points = [tuple(item["objectives"].values()) for item in uninterrupted["items"]]
    assert len(points) > 1
    for point in points:
        assert not any(all(a <= b for a, b in zip(other, point, strict=True)) and other != point for other in points)


@pytest.mark.slow
def test_ctrl_c_stops_a_study_on_ray_too(uninterrupted: dict[str, Any]) -> None:
    process = start(trial_s=0.5, executor="ray")
    wait_until(process, lambda: len(stored()) >= 1)
    # A terminal sends it to every process of the group, those of Ray among them.
    os.killpg(process.pid, signal.SIGINT)
    status, _, err = ended(process)
    assert status == 130, err
    assert err.splitlines()[-1] == f"interrupted: kept {len(stored())} trials; the same command resumes"

    status, out, err = ended(start(executor="ray"))
    assert status == 0, err
    assert answer(out) == uninterrupted
