"""A processor and a tiny model in a user's own catalog, and a folder for profiles."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from profiler.machine import Machine
from simulator import catalog
from tests.tiny import DEVICE, MODEL

EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "family": "moe"}
NAMES = {"device": "test-cpu", "model": "test/tiny", "experts": "test/experts", "engine": "test-engine"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread, and caches that are flushed in no time."""
    torch.set_num_threads(1)
    monkeypatch.setattr(Machine, "cache_bytes", 1 << 18)


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes the catalog; returns the folder of profiles, which is not there yet."""
    folder = tmp_path / "catalog"
    engine = (catalog.ROOT / "data" / "engines" / "vllm-0.19.yaml").read_text(encoding="utf-8")
    write(folder / "devices" / "test-cpu.yaml", DEVICE)
    write(folder / "models" / "test" / "tiny.yaml", MODEL)
    write(folder / "models" / "test" / "experts.yaml", MODEL | EXPERTS)
    write(folder / "engines" / "test-engine.yaml", yaml.safe_load(engine) | {"vendors": ["cpu"]})
    monkeypatch.setenv("TRIMTAB_CATALOG", str(folder))
    monkeypatch.setenv("TRIMTAB_PROFILES", str(tmp_path / "profiles"))
    return tmp_path / "profiles"


def write(path: Path, data: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
