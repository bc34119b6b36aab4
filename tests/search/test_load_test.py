"""The script that reproduces a claimed point: what it sends, and what it says of a server that was claimed to be otherwise."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from db.rows import TrialRow
from search.cli import main
from search.request import SearchRequest
from tests.profiler.load.fake import Fake, serving
from tests.search.test_cli import REQUEST, stored

Make = Callable[..., TrialRow]
WORKLOAD = {"prompt_tokens": {"fixed": 8}, "output_tokens": {"fixed": 4}}
POINT = {"rate_rps": 12.3, "expected_error": {"text": "expected error: not validated"}}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRIMTAB_DB", raising=False)


def written(trial: Make, workload: dict[str, Any]) -> Path:
    """Returns the script of a stored trial."""
    made = replace(trial(0), provenance={"expected_errors": [POINT]})
    stored("trimtab.db", [made], request=SearchRequest.parse({**REQUEST, "workload": workload}))
    assert main(["launch", "chat-8b", "0", "--load-test", "--out", "."]) == 0
    return Path("load-test.sh")


def scenario(script: Path) -> dict[str, Any]:
    """Returns the scenario that a script holds."""
    found: dict[str, Any] = yaml.safe_load(script.read_text().split("<<'SCENARIO'\n")[1].split("\nSCENARIO\n")[0])
    return found


def test_it_sends_the_studys_workload_at_the_published_rate(trial: Make) -> None:
    found = scenario(written(trial, {"preset": "chat", "seed": 3}))
    assert (found["workload"]["preset"], found["workload"]["seed"], found["workload"]["rate_rps"]) == ("chat", 3, 12.3)
    assert found["workload"]["num_requests"] == 3690, "five minutes of it"
    assert found["slo"] == REQUEST["slo"]
    assert found["expected"]["ttft_s"]["p99"] == pytest.approx(1.98)


def test_it_is_sent_to_the_port_that_is_asked_for(trial: Make, capsys: pytest.CaptureFixture[str]) -> None:
    written(trial, WORKLOAD)
    capsys.readouterr()
    for port, head in ((8000, "--load-test\n"), (8123, "--load-test --port 8123\n")):
        assert main(["launch", "chat-8b", "0", "--load-test", "--port", str(port)]) == 0
        printed = capsys.readouterr().out
        assert f"url=${{1:-http://127.0.0.1:{port}}}\n" in printed
        assert printed.splitlines(keepends=True)[1].endswith(head)


@pytest.mark.alone
def test_a_server_is_measured_beside_what_was_expected_of_it(trial: Make) -> None:
    script = written(trial, WORKLOAD)
    bin_folder = Path("bin")
    bin_folder.mkdir()
    program = bin_folder / "trimtab"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m search.cli "$@"\n')
    program.chmod(0o755)

    async def run(*more: str) -> tuple[int, str, str]:
        # A first token after a second lets requests be late by a share of it, as they are on a machine with other work.
        fake = Fake(first_s=1.0, gap_s=0.01)
        async with serving(fake) as target:
            path = f"{bin_folder.resolve()}:/usr/bin:/bin"
            root = str(Path(__file__).parents[2])
            asked = ("sh", str(script), target.url, *more)
            child = await asyncio.create_subprocess_exec(
                *asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"PATH": path, "PYTHONPATH": root, "HOME": "."}
            )
            out, err = await child.communicate()
            assert child.returncode is not None and len(fake.arrived) == 33, err.decode()
            return child.returncode, out.decode(), err.decode()

    def in_time(*more: str) -> tuple[int, str, str]:
        """Returns what a run said; one that the machine was too busy for is made again."""
        for _ in range(3):
            found = asyncio.run(run(*more))
            if "the schedule was not kept" not in found[2]:
                break
        return found

    status, told, error = in_time("--num-requests", "30")
    assert status == 0, error
    assert "expected TTFT: p50 1.98 s (+" in told and "p99 1.98 s (+" in told
    status, told, error = in_time("--num-requests", "30", "--json")
    assert status == 0, error
    beside = json.loads(told)["expected"]["ttft_s"]["p99"]
    assert beside["relative_error"] == pytest.approx(beside["expected_s"] / beside["measured_s"] - 1)


def test_it_goes_alone_and_needs_a_published_point(trial: Make, capsys: pytest.CaptureFixture[str]) -> None:
    stored("trimtab.db", [trial(0)])
    assert main(["launch", "chat-8b", "0", "--load-test", "--engine", "vllm"]) == 2
    assert "--load-test: 'given' is not allowed; allowed: alone" in capsys.readouterr().err
    assert main(["launch", "chat-8b", "0"]) == 2
    assert "--engine" in capsys.readouterr().err
