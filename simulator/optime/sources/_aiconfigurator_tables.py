"""The Parquet tables of the package `aiconfigurator-core`, read where they are installed, without importing the package.

Layout: `systems/data/<system>/<family>/<vllm or nccl>/<version>/<table>_perf.parquet`; latency is in milliseconds, of one
isolated kernel on one GPU.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import yaml

from simulator.optime.operators import Floats, Ints

PACKAGE, VERSION = "aiconfigurator-core", "0.12.0"

# Catalog name -> folder. The A100 measured there is the one of 80 GB (its rows say so); each has one attention backend.
SYSTEMS: dict[str, str] = {
    "A100-80G-SXM": "a100_sxm",
    "H100-SXM": "h100_sxm",
    "H200-SXM": "h200_sxm",
    "L40S": "l40s",
}


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of one table: integer columns by name, seconds, and the software that was measured, with its version."""

    columns: Mapping[str, Ints]
    seconds: Floats
    software: str
    version: str

    def where(self, **equal: int) -> Table:
        """Returns the rows whose columns have these values."""
        keep = np.ones(len(self.seconds), dtype=np.bool_)
        for name, value in equal.items():
            keep &= self.columns[name] == value
        columns = {name: column[keep] for name, column in self.columns.items()}
        return replace(self, columns=columns, seconds=self.seconds[keep])


def installed_version() -> str | None:
    """Returns the version of the installed package, or None."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def systems_folder() -> Path | None:
    """Returns the folder of systems when exactly the pinned version is installed, else None."""
    if installed_version() != VERSION:
        return None
    spec = importlib.util.find_spec("aiconfigurator_core")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "systems"
    return folder if folder.is_dir() else None


@cache
def memory_kernel(system: str) -> tuple[float, float]:
    """Returns the package's own allowance for kernels that only move bytes: share of bandwidth, seconds of latency."""
    folder = systems_folder()
    assert folder is not None, "checked when the source is opened"
    gpu = yaml.safe_load((folder / f"{system}.yaml").read_text(encoding="utf-8"))["gpu"]
    return float(gpu["mem_bw_empirical_scaling_factor"]), float(gpu["mem_empirical_constant_latency"])


def _newest(system: str, family: str, software: str, table: str) -> Path | None:
    folder = systems_folder()
    if folder is None:
        return None
    paths = (folder / "data" / system / family / software).glob(f"*/{table}_perf.parquet")
    return max(paths, key=lambda path: tuple(int(part) for part in path.parent.name.split(".")), default=None)


@cache
def read(system: str, family: str, software: str, table: str, columns: tuple[str, ...], **equal: str | int) -> Table | None:
    """Returns integer columns of the newest version's rows in which the columns of `equal` have those values, or None.

    A filter on a column that a table does not have is met: tables of older versions lack what did not vary in them.
    Repeated measurements of one point are averaged.
    """
    path = _newest(system, family, software, table)
    if path is None:
        return None
    # Neither read_table nor filter: they import pandas, half a second of a cold start.
    parquet = importlib.import_module("pyarrow.parquet")
    names = set(parquet.read_schema(path).names)
    equal = {name: value for name, value in equal.items() if name in names}
    with parquet.ParquetFile(path, read_dictionary=[name for name in equal if isinstance(equal[name], str)]) as file:
        rows = file.read(columns=[*columns, "latency", *equal]).combine_chunks()
    keep = np.ones(rows.num_rows, dtype=np.bool_)
    for name, value in equal.items():
        column = rows[name].chunk(0)
        if isinstance(value, str):
            words = column.dictionary.to_pylist()
            keep &= np.from_dlpack(column.indices) == (words.index(value) if value in words else -1)
        else:
            keep &= np.from_dlpack(column) == value
    if not keep.any():
        return None
    points = [np.from_dlpack(rows[name].chunk(0))[keep].astype(np.int64) for name in columns]
    latency_s = np.from_dlpack(rows["latency"].chunk(0))[keep].astype(np.float64) * 1e-3
    return _averaged(points, latency_s, columns, software, path.parent.name)


def _averaged(points: list[Ints], seconds: Floats, columns: tuple[str, ...], software: str, version: str) -> Table:
    """Returns a table in ascending order of its columns, the first one foremost, with one row a point."""
    order = np.lexsort(points[::-1])
    ordered = [point[order] for point in points]
    first = np.any([np.diff(point, prepend=-1) != 0 for point in ordered], axis=0)
    position = np.cumsum(first) - 1
    mean = np.bincount(position, weights=seconds[order]) / np.bincount(position)
    kept = {name: point[first] for name, point in zip(columns, ordered, strict=True)}
    return Table(kept, mean, software, version)
