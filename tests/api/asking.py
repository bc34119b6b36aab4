"""What tests of the REST API ask, and the process that they ask."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.shared import REPOSITORY

LINEAR = [{"source": "linear", "base_s": 0.02, "per_token_s": 2e-5, "per_kv_token_s": 1e-8}]
REQUEST: dict[str, Any] = {
    "name": "small",
    "model": "meta-llama/Llama-3.1-8B",
    "workload": {"prompt_tokens": {"uniform": {"low": 100, "high": 300}}, "output_tokens": {"uniform": {"low": 10, "high": 30}}},
    "slo": {"ttft_p99_s": 2.0},
    "prices": "cloud-2026-11",
    "profiles": LINEAR,
    "space": {"device": ["H100-SXM", "L40S"], "max_num_batched_tokens": [512, 2048]},
    "budget": {"max_gpus": 2, "trials": 4},
}
# So many deployments keep a worker at work until it is told to stop.
LONG: dict[str, Any] = {
    **REQUEST,
    "name": "long",
    "workload": {"preset": "chat"},
    "space": {"device": ["H100-SXM", "L40S"], "max_num_batched_tokens": {"low": 512, "high": 4096, "step": 16}},
    "budget": {"max_gpus": 2, "trials": 400},
}
START_S, END_S = 120.0, 60.0


class Service:
    """`trimtab serve` as a process of its own on a free port."""

    def __init__(self, db: Path, *options: str, port: int = 0) -> None:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "NO_COLOR": "1"}
        command = [sys.executable, "-m", "search.cli", "serve", "--db", str(db), "--port", str(port), *options]
        self.log = (db.parent / f"{db.name}.log").open("ab")
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=self.log, text=True, cwd=db.parent)
        assert self.process.stdout is not None
        self.says = self.process.stdout.readline()
        assert self.says.startswith("trimtab listens on http://127.0.0.1:"), Path(self.log.name).read_text()
        self.url = self.says.split()[3]
        self.port = int(self.url.rpartition(":")[2])

    def end(self) -> int:
        """Returns the exit status after SIGTERM."""
        self.process.terminate()
        try:
            return self.process.wait(END_S)
        finally:
            self.process.kill()
            self.process.communicate()
            self.log.close()


def until(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Waits until something is true; fails after so many seconds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.05)
