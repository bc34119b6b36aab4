"""`trimtab validate SCENARIO.yaml --keep`: what is kept is not run again, what does not fit into the time is left."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from profiler.validate import Compared
from profiler.validating import Fault, Job, Run
from search import placement, validation
from search.cli import main

DEPLOYMENT = {"model": "Qwen/Qwen3-0.6B", "engine": "trimtab-0.1", "device": "H200-SXM", "max_num_seqs": 8}
WORKLOAD = {"prompt_tokens": 64, "output_tokens": 16}


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump({"deployment": DEPLOYMENT, "workload": WORKLOAD}), encoding="utf-8")
    return path


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Returns the loads that were run, as they are; Ray is not asked, and the load of 0.8 dies the first time."""
    seen: list[float] = []

    def measure(job: Job, tell: Callable[[Run], None]) -> list[Run]:
        for load in job.loads:
            dies = load.share == 0.8 and 0.8 not in seen
            seen.append(load.share)
            found = Fault("died", "it ended") if dies else Compared(load.rate_rps, {}, {}, {"tpot_mean_s": 0.1}, {}, {})
            tell(Run(load, found, datetime.now(UTC), datetime.now(UTC)))
        return []

    def never(*given: Any) -> Any:
        raise AssertionError("asked for a place on a cluster")

    monkeypatch.setattr(validation, "measure", measure)
    monkeypatch.setattr(placement, "place_of", never)
    return seen


def told(capsys: pytest.CaptureFixture[str], scenario: Path, *more: str) -> dict[str, Any]:
    keep = scenario.with_name("kept.json")
    argv = ["validate", str(scenario), "--here", "--keep", str(keep), "--loads", "0.5,0.8,1.0", "--requests", "20", "--json"]
    assert main([*argv, *more]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert json.loads(keep.read_text())["items"] == document["items"]
    return document


def test_what_is_kept_is_not_run_again(scenario: Path, ran: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    first = told(capsys, scenario)
    assert first["finished"] and ran == [0.5, 0.8, 1.0] and [bool(each["fault"]) for each in first["items"]] == [False, True, False]
    assert told(capsys, scenario) == first and len(ran) == 3
    again = told(capsys, scenario, "--again")
    assert ran[3:] == [0.8] and [each["load"] for each in again["items"]] == [0.5, 0.8, 1.0]
    assert not any(each["fault"] for each in again["items"])


def test_loads_that_do_not_fit_into_the_time_are_left(scenario: Path, ran: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["validate", str(scenario), "--here", "--loads", "0.5", "--requests", "20", "--json"]
    assert main(argv) == 0
    lasts = 20 / json.loads(capsys.readouterr().out)["items"][0]["rate_rps"]
    ran.clear()
    cut = told(capsys, scenario, "--budget-s", str(1.5 * lasts))
    assert ran == [0.5] and (cut["finished"], cut["left"]) == (False, [0.8, 1.0])
    assert told(capsys, scenario)["finished"] and ran == [0.5, 0.8, 1.0]


def test_a_file_of_other_runs_is_refused(
    scenario: Path, ran: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, scenario)
    keep = str(tmp_path / "kept.json")
    for more in (["--requests", "21"], ["--keep", str(scenario)]):
        assert main(["validate", str(scenario), "--here", "--keep", keep, "--requests", "20", *more]) == 2
        assert capsys.readouterr().err.startswith("--keep: ")
    assert main(["validate", "study", "--keep", keep]) == 2
    assert "a SCENARIO.yaml" in capsys.readouterr().err
    assert main(["validate", str(scenario), "--budget-s", "0"]) == 2
    assert capsys.readouterr().err.startswith("--budget-s: 0.0")
