"""What a process costs: a million requests in memory and time, and `trimtab simulate` from a cold shell."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import yaml

from simulator.draw import draw
from simulator.run import simulate
from tests.benchmarks.entry import Entry
from tests.benchmarks.timing import CHAT, prepared

MILLION = 1_000_000
REPEATS = 3
SCENARIO = {
    "deployment": {"model": "meta-llama/Llama-3.1-8B", "device": "H100-SXM"},
    "workload": {"preset": "chat", "rate_rps": 15.0, "num_requests": 1_000},
    "slo": {"ttft_p99_s": 2.0, "itl_p99_s": 0.2},
}


def entries() -> Iterator[Entry]:
    """Yields CPU seconds and megabytes of a million requests, the requests themselves included, and a cold run's seconds."""
    found = [json.loads(_output([sys.executable, "-m", "tests.benchmarks.shell"])) for _ in range(REPEATS)]
    yield Entry("million_requests_cpu_s", median(one["cpu_s"] for one in found), "CPU s")
    yield Entry("million_requests_mb", median(one["mb"] for one in found), "MB")
    yield Entry("million_requests_with_traffic_mb", median(one["with_traffic_mb"] for one in found), "MB")
    wall, cpu = _cold()
    yield Entry("simulate_cold_s", wall, "s")
    yield Entry("simulate_cold_cpu_s", cpu, "CPU s")


def _cold() -> tuple[float, float]:
    """Returns wall and CPU seconds of `trimtab simulate` in a process of its own, once kernels are compiled."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "scenario.yaml"
        path.write_text(yaml.safe_dump(SCENARIO), encoding="utf-8")
        start = "from search.cli import entry; entry()"
        command = [sys.executable, "-c", start, "simulate", str(path), "--json"]
        _output(command)
        wall, cpu = [], []
        for _ in range(REPEATS):
            began, used = time.monotonic(), _children_cpu_s()
            _output(command)
            wall.append(time.monotonic() - began)
            cpu.append(_children_cpu_s() - used)
    return median(wall), median(cpu)


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _peak_mb() -> float:
    # Kilobytes on Linux.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _million() -> dict[str, float]:
    """Returns CPU seconds of a million requests at 70 % load, and by how many megabytes the process grows."""
    deployment, rate = prepared(), 15.0
    simulate(deployment, draw(CHAT, 1_000, 0, resample=True), rate)
    before = _peak_mb()
    traffic = draw(CHAT, MILLION, 0, resample=True)
    drawn = _peak_mb()
    began = time.process_time()
    simulate(deployment, traffic, rate)
    taken = time.process_time() - began
    return {"cpu_s": taken, "mb": _peak_mb() - drawn, "with_traffic_mb": _peak_mb() - before}


if __name__ == "__main__":
    print(json.dumps(_million()))
