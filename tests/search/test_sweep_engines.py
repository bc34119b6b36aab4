"""Engine cases of a suite: measured where they are asked for, and compared with the last run of the same host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from search import validate_one
from search.cli import main
from search.sweep import run as running
from simulator.errors import Unmeasured
from tests.tiny import DEVICE as FAST
from tests.tiny import MODEL

DEVICE = FAST | {
    "memory_bandwidth_bytes_per_s": 1e11,
    "peak_flops_per_s": {"float32": 1e12, "bfloat16": 1e12},
    "link": {"pcie_bytes_per_s": 1e10, "gpus_per_node": 1},
}

SCENARIO: dict[str, Any] = {
    "deployment": {
        "model": "test/little",
        "engine": "trimtab-0.1",
        "device": "test-cpu",
        "dtype": "float32",
        "max_num_batched_tokens": 64,
        "max_num_seqs": 4,
        "max_model_len": 128,
        "num_gpu_blocks_override": 64,
    },
    "workload": {"prompt_tokens": 32, "output_tokens": 8},
    # It only says at which rates the engine is asked, so slow that any machine keeps up.
    "profiles": [{"source": "linear", "base_s": 0.1}],
}


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, data in (("devices/test-cpu.yaml", DEVICE), ("models/test/little.yaml", MODEL)):
        path = tmp_path / "catalog" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(data), encoding="utf-8")
    monkeypatch.setenv("TRIMTAB_CATALOG", str(tmp_path / "catalog"))
    monkeypatch.setenv("TRIMTAB_DB", str(tmp_path / "s.db"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "suite.yaml"
    case = {"name": "this machine", "scenario": SCENARIO, "loads": [0.5], "requests": 12}
    path.write_text(yaml.safe_dump({"name": "engines", "engines": [case]}), encoding="utf-8")
    return path


def night(suite: Path, capsys: pytest.CaptureFixture[str], status: int, *options: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["sweep", str(suite), "--json", *options]) == status
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


class Engine:
    """Stands in for an engine that takes `factor` times as long."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.factor: float | None = 1.0
        monkeypatch.setattr(validate_one, "validate_scenario", self)

    def __call__(self, scenario: Any, server: Any, loads: list[float], requests: int) -> dict[str, Any]:
        if self.factor is None:
            raise Unmeasured("the engine died")
        latency = {"p50": 0.1 * self.factor, "p99": 0.3 * self.factor, "mean": 0.1 * self.factor}
        measured = {"ttft_s": latency, "tpot_s": latency, "itl_s": latency}
        return {"items": [{"load": load, "fault": None, "measured": measured} for load in loads]}


def test_on_a_processor_an_engine_runs_only_when_it_is_asked_for(
    suite: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Engine(monkeypatch)
    assert night(suite, capsys, 0)["predictions"] == []
    assert [case["name"] for case in night(suite, capsys, 0, "--engines")["predictions"]] == ["this machine"]


def test_an_engine_is_compared_with_the_last_night_of_its_host(
    suite: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(monkeypatch)
    night(suite, capsys, 0, "--engines")
    engine.factor = 1.1
    assert night(suite, capsys, 0, "--engines")["verdict"] == "same", "within the tolerance"
    engine.factor = 1.5
    case = night(suite, capsys, 1, "--engines")["predictions"][0]
    assert {each["what"] for each in case["findings"]} >= {"ttft_p99_s at 50%", "tpot_mean_s at 50%"}
    assert case["why"] == "no digest differs"
    monkeypatch.setattr(running, "gethostname", lambda: "another")
    assert night(suite, capsys, 0, "--engines")["summary"]["findings"] == 0, "another machine has no last night"


def test_an_engine_that_could_not_be_measured_is_told(
    suite: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(monkeypatch)
    night(suite, capsys, 0, "--engines")
    engine.factor = None
    case = night(suite, capsys, 1, "--engines")["predictions"][0]
    assert case["state"] == "failed" and "the engine died" in case["findings"][0]["sentence"]


@pytest.mark.slow
@pytest.mark.alone
def test_our_own_engine_is_measured(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = night(suite, capsys, 0, "--engines")["predictions"][0]
    if case["state"] == "failed" and ": late," in case["reason"]:
        pytest.skip("the machine is too busy to send requests in time")
    assert case["state"] == "done", case["reason"]
    assert case["numbers"]["ttft_p50_s at 50%"]["value"] > 0 and case["numbers"]["tpot_mean_s at 50%"]["value"] > 0
