"""Golden: every step that vLLM 0.19.0's own scheduler was recorded to decide, through `trimtab simulate --steps`.

The recordings lie outside the repository (`vllm-scheduler` in the data folder).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from search import cli
from tests.shared import data_dir

SCENARIOS = (
    "s01-low-load",
    "s02-saturation-seqs",
    "s03-kv-exhaust",
    "s04-kv-noreserve",
    "s05-tiny-blocks",
    "s06-budget-256",
    "s07-long-prefill",
    "s08-prefix-shared",
    "s09-prefix-evict",
    "s10-priority",
    "s11-async",
)
KNOBS = (
    "max_num_seqs",
    "max_num_batched_tokens",
    "max_model_len",
    "block_size",
    "long_prefill_token_threshold",
    "scheduler_reserve_full_isl",
    "enable_prefix_caching",
    "async_scheduling",
)
INPUTS = ("arrived_at", "num_prefill_tokens", "num_decode_tokens", "priority", "block_ids")
TIMES = ("sched_s", "start_s", "end_s")
Rows = list[dict[str, str]]


def table(path: Path) -> Rows:
    """Returns the rows of a CSV file by column."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    return list(csv.DictReader(io.StringIO(text)))


def write_scenario(folder: Path, about: dict[str, Any], requests: Rows) -> Path:
    """Writes a recording's requests as a trace, and the scenario that replays it; returns the scenario's place."""
    columns = [column for column in INPUTS if column in requests[0]]
    with (folder / "trace.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(requests)
    config, cost = about["config"], about["cost_model"]
    scenario = {
        "deployment": {
            "model": "meta-llama/Llama-3.1-8B",
            "engine": "vllm-0.19",
            "device": "H200-SXM",
            "scheduler": "vllm_v1",
            "scheduling_policy": config["policy"],
            "num_gpu_blocks_override": about["usable_blocks"],
            **{knob: config[knob] for knob in KNOBS},
        },
        "workload": {"trace": "trace.csv"},
        "profiles": [
            {"source": "linear", **{f"{part}_s": cost[f"{part}_ns"] / 1e9 for part in ("base", "per_token", "per_kv_token")}}
        ],
    }
    (folder / "scenario.yaml").write_text(yaml.safe_dump(scenario))
    return folder / "scenario.yaml"


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_step_is_the_recorded_one(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = data_dir("vllm-scheduler")
    about, requests = json.loads((folder / f"{name}.json").read_text()), table(folder / f"{name}.requests.csv.gz")
    scenario = write_scenario(tmp_path, about, requests)
    files = {option: tmp_path / f"{option}.csv" for option in ("steps", "requests")}
    status = cli.main(["simulate", str(scenario), "--json", *(f"--{option}={file}" for option, file in files.items())])
    assert status == 0, capsys.readouterr().err
    check_steps(table(files["steps"]), table(folder / f"{name}.steps.csv.gz"))
    check_requests(table(files["requests"]), requests)


def check_steps(found: Rows, recorded: Rows) -> None:
    """Raises at the first row that differs, in any column but the times, or in a time by more than a nanosecond."""
    for number, (mine, theirs) in enumerate(zip(found, recorded, strict=False)):
        exact = {column: value for column, value in theirs.items() if column not in TIMES}
        assert {column: mine[column] for column in exact} == exact, f"row {number}"
        assert mine["engine"] == "0"
    assert len(found) == len(recorded)
    check_times(found, recorded, dict(zip(TIMES, TIMES, strict=True)))


def check_requests(found: Rows, recorded: Rows) -> None:
    """Raises unless the requests' times, preemptions and cached tokens are the recorded ones."""
    for column in ("request_id", "num_prefill_tokens", "num_decode_tokens", "preemptions", "cached_tokens"):
        assert [row[column] for row in found] == [row[column] for row in recorded], column
    times = {"arrived_at_s": "arrived_at", **{column: column for column in ("first_scheduled_s", "first_token_s", "finished_s")}}
    check_times(found, recorded, times)


def check_times(found: Rows, recorded: Rows, columns: dict[str, str]) -> None:
    """Raises unless the columns agree within a nanosecond, the recordings' own grain."""
    for mine, theirs in columns.items():
        one, other = [float(row[mine]) for row in found], [float(row[theirs]) for row in recorded]
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9, err_msg=mine)
