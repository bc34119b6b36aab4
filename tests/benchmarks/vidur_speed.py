"""How many times as fast as Vidur: CPU seconds of its loop without metrics over those of a run here, on the same requests."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import pytest

from simulator.resolve import resolve
from simulator.run import prepare, simulate
from simulator.spec.deployment import Deployment
from simulator.traffic import Traffic
from tests.benchmarks.entry import Entry
from tests.benchmarks.timing import seconds
from tests.benchmarks.vidur import deployment, scenarios
from tests.shared import data_dir


def entries() -> Iterator[Entry]:
    """Yields the ratio of each scenario whose time was recorded, and their median; nothing without the recordings."""
    try:
        folder = data_dir("vidur-reference")
    except pytest.skip.Exception:
        return
    with (folder / "vidur_timings.csv").open(newline="", encoding="utf-8") as file:
        timed = {row["id"]: float(row["sim_cpu_s"]) for row in csv.DictReader(file) if row["mode"] == "nometrics"}
    ratios = []
    for about in scenarios(folder):
        if about["id"] in timed:
            ratios.append(timed[about["id"]] / _seconds(folder, about))
            yield Entry(f"vidur_ratio_{about['id'].partition('_')[0]}", ratios[-1], "times")
    if ratios:
        yield Entry("vidur_ratio_median", median(ratios), "times")


def _seconds(folder: Path, about: Mapping[str, Any]) -> float:
    """Returns the CPU seconds of a scenario's run, arrays in and arrays out."""
    files = folder / "scenarios"
    record = json.loads((files / f"{about['id']}.record.json").read_text(encoding="utf-8"))["results"]
    rows = pd.read_csv(files / f"{about['id']}.requests.csv.gz")
    profile = {"source": "vidur_tables", "path": str(folder / "tables" / f"{about['table']}.npz")}
    ready = prepare(resolve(Deployment.parse(deployment(about, record))), [profile])
    arrived, prompts, outputs = (rows[name].to_numpy() for name in ("arrived_at", "prefill_tokens", "decode_tokens"))
    traffic = Traffic(arrived.astype(np.float64), prompts, outputs, np.zeros(len(rows), dtype=np.int64), 1.0)
    return seconds(lambda: simulate(ready, traffic))
