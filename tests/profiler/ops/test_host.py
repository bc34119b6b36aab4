"""What the host spends, and what the device reaches at best."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from profiler import ceilings, host
from profiler.machine import Machine
from search.cli import main
from simulator import catalog


def test_a_processor_has_a_scheduler_and_launches_nothing() -> None:
    found = host.measured(Machine("cpu"))
    assert set(found) == {"scheduler_step_s", "scheduler_sequence_s"}
    assert 1e-7 < found["scheduler_step_s"] < 1e-2
    assert found["scheduler_sequence_s"] < found["scheduler_step_s"]


def test_ceilings_make_a_device_of_the_catalog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ceilings, "SQUARES", (64, 128))
    monkeypatch.setattr(ceilings, "MOST_COPY_BYTES", 1 << 24)
    monkeypatch.setenv("TRIMTAB_CATALOG", str(tmp_path / "mine"))
    assert main(["profile", "ceilings", "--device-file", str(tmp_path / "mine" / "devices" / "this-cpu.yaml")]) == 0
    out = capsys.readouterr().out
    device = catalog.device("this-cpu")
    assert device.vendor == "cpu"
    assert set(device.peak_flops_per_s) == {"float32", "bfloat16", "float16"}
    assert 1e8 < device.memory_bandwidth_bytes_per_s < 1e13
    told = re.search(r"copy: ([\d.]+) GB/s", out)
    assert told is not None and float(told[1]) == pytest.approx(device.memory_bandwidth_bytes_per_s / 1e9, rel=0.02)
    assert "this-cpu" in catalog.names("devices")
