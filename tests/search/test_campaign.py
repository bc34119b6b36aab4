"""A campaign in miniature on this processor: interrupted, gone on with, nothing measured twice, its summary from its folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from search.campaigning import plan as plans
from search.campaigning import record as records
from search.campaigning.page import page
from search.campaigning.run import Call
from search.campaigning.summary import summarize
from search.cli import main
from simulator.errors import InputError

DEVICE = {
    "vendor": "cpu",
    "architecture": "x86_64",
    "memory_bytes": 16 << 30,
    "memory_bandwidth_bytes_per_s": 1e13,
    "peak_flops_per_s": {"float32": 1e15, "bfloat16": 1e15},
    "link": {"pcie_bytes_per_s": 1e13, "gpus_per_node": 2},
    "sources": {"all": "made for tests"},
}
MODEL = {
    "family": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 256,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "sources": {"all": "made for tests"},
}
SMALL = "--model test/tiny --device {device} --dtype float32 --max-tokens 32 --max-seqs 2 --max-len 64 --json"
MINIATURE: dict[str, Any] = {
    "name": "miniature",
    "budget_s": 60,
    "start_s": 1,
    "parts": [
        {
            "name": "operators",
            "what": "Operators of a tiny model",
            "items": [
                {"name": "operators", "command": f"profile run --budget-s {{budget}} {SMALL}", "seconds": 4, "at_most_s": 8},
                {"name": "wrong", "command": "profile run --model test/none --device {device} --json", "seconds": 1},
            ],
        },
        {
            "name": "check",
            "what": "Tokens of the engine",
            "items": [{"name": "check", "command": "engine check --device {device} --only primes --json", "seconds": 1}],
        },
        {"name": "host", "what": "Host step", "items": [{"name": "host", "command": f"profile host {SMALL}", "seconds": 1}]},
    ],
    "validations": {
        "what": "Engine beside simulator",
        "common": {
            "engine": "trimtab-0.1", "dtype": "float32", "max_num_seqs": 2, "max_model_len": 64, "num_gpu_blocks_override": 32,
        },
        "axes": [[{"model": "test/tiny"}], [{"scheduler": "vllm_v1"}, {"scheduler": "sarathi_serve"}], [{"max_num_batched_tokens": 32}]],
        "workload": {"prompt_tokens": 24, "output_tokens": 8},
        "loads": [0.2, 0.4],
        "requests": 12,
        "seconds": 2,
        "per_part": 1,
    },
    "last": [{"name": "summary", "what": "Summary", "items": [{"name": "summary", "command": "campaign summary --out {out} --json", "seconds": 1}]}],
}  # fmt: skip


@pytest.fixture
def plan_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes the plan and a catalog with a processor and a tiny model."""
    folder = tmp_path / "catalog"
    for name, data in (("devices/test-cpu.yaml", DEVICE), ("models/test/tiny.yaml", MODEL), ("plan.yaml", MINIATURE)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(yaml.safe_dump(data), encoding="utf-8")
    monkeypatch.setenv("TRIMTAB_CATALOG", str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return folder / "plan.yaml"


def words(out: Path, plan_file: Path) -> list[str]:
    return ["campaign", "run", "--out", str(out), "--device", "test-cpu", "--plan", str(plan_file), "--json"]


@pytest.mark.slow
def test_it_is_interrupted_goes_on_and_measures_nothing_twice(
    plan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "campaign"
    MINIATURE["parts"][1]["items"][0]["command"] = "engine check --device {device} --only prime --json"
    plan_file.write_text(yaml.safe_dump(MINIATURE), encoding="utf-8")
    code = "from search.cli import entry; entry()"
    process = subprocess.Popen([sys.executable, "-c", code, *words(out, plan_file)], env=dict(os.environ), stdout=subprocess.DEVNULL)
    try:
        # In the middle of the first deployment: one load is kept, the other runs.
        until = time.monotonic() + 120
        while time.monotonic() < until and process.poll() is None and not list((out / "validations").glob("[!.]*.json")):
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    entries = json.loads((out / records.FILE).read_text())["items"]
    first = "tiny-vllm_v1-32"
    assert (entries[first]["state"], entries["operators"]["state"], entries["wrong"]["state"]) == ("running", "done", "failed")
    assert "--model: 'test/none' is not allowed" in entries["wrong"]["reason"]
    kept = json.loads((out / "validations" / f"{first}.json").read_text())["items"]
    log = (out / "profiles" / "test-cpu" / ".torch-tiny-float32.jsonl").read_bytes()
    assert main(["campaign", "status", "--out", str(out)]) == 0
    assert "4 validation-1       left" in capsys.readouterr().out

    assert main(words(out, plan_file)) == 0
    document = json.loads(capsys.readouterr().out)
    states = {part["name"]: part["state"] for part in document["parts"]}
    assert states == {
        "operators": "failed", "check": "done", "host": "done", "validation-1": "done", "validation-2": "done", "summary": "done",
    }  # fmt: skip
    assert document["call"]["done"] == [first, "tiny-sarathi_serve-32", "summary"]
    assert json.loads((out / "validations" / f"{first}.json").read_text())["items"][: len(kept)] == kept
    assert (out / "profiles" / "test-cpu" / ".torch-tiny-float32.jsonl").read_bytes() == log

    found = json.loads((out / "summary.json").read_text())
    assert [each["state"] for each in found["checks"]] == ["passed"]
    assert len(found["host_steps"]) == len(found["profiles"]) == 1
    assert {name: len(each["items"]) for name, each in ((each["name"], each) for each in found["validations"]["deployments"])} == {
        first: 2, "tiny-sarathi_serve-32": 2,
    }  # fmt: skip
    assert "wrong failed: --model: 'test/none' is not allowed" in (out / "test-cpu.md").read_text()
    assert main(words(out, plan_file)) == 0
    assert json.loads(capsys.readouterr().out)["call"] == {"done": [], "failed": [], "left": []}
