"""The whole loop on this processor: operators measured, our engine served, the simulator beside it on the same arrivals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from search.cli import main
from simulator.optime import hoststep
from tests.tiny import DEVICE
from tests.tiny import MODEL as TINY

LARGER = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "head_dim": 64, "vocab_size": 1024}
MODEL = TINY | LARGER | {"max_position_embeddings": 512}

LIMITS = ["--max-tokens", "128", "--max-seqs", "4", "--max-len", "128"]
OF = ["--model", "test/little", "--device", "test-cpu", "--dtype", "float32"]
DEPLOYMENT = {
    "model": "test/little",
    "engine": "trimtab-0.1",
    "device": "test-cpu",
    "dtype": "float32",
    "max_num_batched_tokens": 128,
    "max_num_seqs": 4,
    "max_model_len": 128,
    "num_gpu_blocks_override": 64,
}
WORKLOAD = {"prompt_tokens": 96, "output_tokens": 16}
# A shared machine stalls servers and clients alike: the figures are on the page about accuracy, here only their size.
WITHIN = 0.6
TRIES = 3


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes the catalog and the scenario."""
    folder = tmp_path / "catalog"
    for name, data in (("devices/test-cpu.yaml", DEVICE), ("models/test/little.yaml", MODEL)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(yaml.safe_dump(data), encoding="utf-8")
    monkeypatch.setenv("TRIMTAB_CATALOG", str(folder))
    monkeypatch.setenv("TRIMTAB_PROFILES", str(tmp_path / "profiles"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump({"deployment": DEPLOYMENT, "workload": WORKLOAD}), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.alone
def test_the_simulator_foretells_our_engine(scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    torch.set_num_threads(1)
    assert main(["profile", "run", *OF, *LIMITS, "--budget-s", "10"]) == 0
    capsys.readouterr()
    assert main(["profile", "host", *OF, *LIMITS, "--json"]) == 0
    host = json.loads(capsys.readouterr().out)
    assert host["steps"] > 50
    assert hoststep.read(Path(host["path"])).mixed_s == host["mixed_s"]

    assert main(["simulate", str(_with_rate(scenario)), "--json"]) == 0
    origins = json.loads(capsys.readouterr().out)["provenance"]["operators"]
    assert (origins["host_step"]["source"], origins["host_step"]["kind"]) == ("own", "measured")

    item = _validated(scenario, tmp_path / "logs", capsys)
    assert item["measured"]["requests"] == item["simulated"]["requests"] == 60
    assert abs(item["errors"]["tpot_p50_s"]) < WITHIN, item["errors"]


def _validated(scenario: Path, logs: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Returns the comparison; a machine that is too busy to keep the schedule is asked again, and then says nothing."""
    for _ in range(TRIES):
        status = main(["validate", str(scenario), "--loads", "0.4", "--requests", "60", "--logs", str(logs), "--json"])
        (item,) = json.loads(capsys.readouterr().out)["items"]
        if status == 0:
            return item
        assert item["fault"]["kind"] == "late", item["fault"]
    pytest.skip("the machine is too busy to send requests in time")


def _with_rate(scenario: Path) -> Path:
    path = scenario.with_name("rated.yaml")
    told = yaml.safe_load(scenario.read_text(encoding="utf-8"))
    told["workload"] |= {"rate_rps": 2.0, "num_requests": 20}
    path.write_text(yaml.safe_dump(told), encoding="utf-8")
    return path
