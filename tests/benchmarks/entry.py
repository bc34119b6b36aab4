"""An entry of build/bench.json, and the machine that it was measured on."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from search.executor.threads import usable_cores


@dataclass(frozen=True)
class Entry:
    """One number, or one text, with its unit."""

    name: str
    value: float | str
    unit: str

    def document(self) -> dict[str, Any]:
        """Returns the entry as it lies in the file."""
        return asdict(self)


def machine(load_before: float) -> Entry:
    """Returns CPU, cores, versions and load averages; the load tells whether others were at work."""
    parts = [
        _cpu(),
        f"{usable_cores()} cores",
        f"Python {platform.python_version()}",
        f"numba {version('numba')}",
        f"load average {load_before:.1f} before and {load_average():.1f} after",
    ]
    return Entry("machine", ", ".join(parts), "text")


def load_average() -> float:
    """Returns the load average of the last minute."""
    return os.getloadavg()[0]


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())
