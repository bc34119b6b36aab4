"""What is installed, reachable, writable and compiled: each finding is ok, warn or fail, with what mends it."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from simulator.errors import TrimtabError

State = Literal["ok", "warn", "fail"]
NEEDED = ("numba", "numpy", "sqlalchemy", "alembic", "optuna", "ray", "fastapi", "limits")
# What brings a package: the extra of it.
EXTRAS = {"psycopg": "postgres", "torch": "engine", "aiconfigurator-core": "measured"}
IMPORTS = {"aiconfigurator-core": "aiconfigurator_core"}
LOW_BYTES = 2**30


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what it is, how it stands, what was found, and what mends it."""

    what: str
    state: State
    found: str
    fix: str = ""


def findings(db: str, address: str | None = None) -> Iterator[Finding]:
    """Yields all findings; what fails to be looked at is a finding itself."""
    looks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _packages,
        lambda: _store(db),
        _kernel,
        lambda: _ray(address or os.environ.get("RAY_ADDRESS")),
        _gpus,
        lambda: _disk(db),
        _uploads,
    ]
    for look in looks:
        try:
            yield from look()
        except Exception as error:
            what = getattr(look, "__name__", "").strip("_<>") or "check"
            yield Finding(what, "fail", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


def _python() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _packages() -> Iterator[Finding]:
    for name in NEEDED:
        if find_spec(name) is None:
            yield Finding(name, "fail", "not installed", "pip install trimtab")
        else:
            yield Finding(name, "ok", _version(name))
    for name, extra in EXTRAS.items():
        if find_spec(IMPORTS.get(name, name)) is None:
            yield Finding(name, "warn", f"not installed (extra {extra})", f"pip install 'trimtab[{extra}]', where it is wanted")
        else:
            yield Finding(name, "ok", f"{_version(name)} (extra {extra})")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "without a version"


def _store(db: str) -> Iterator[Finding]:
    from db import migrate
    from db.location import database_url, shown
    from db.upkeep import writable

    try:
        url = database_url(db)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
            yield Finding("store", "ok", f"{shown(url)} will be made by the first command that stores")
            return
        revision = writable(db)
    except TrimtabError as error:
        yield Finding("store", "fail", str(error), "name another place by --db or TRIMTAB_DB")
        return
    newest = migrate.revisions()[-1]
    if revision == newest:
        yield Finding("store", "ok", f"{shown(url)} can be written, at schema {revision}, the newest")
    else:
        yield Finding(
            "store", "warn", f"{shown(url)} is at schema {revision}, the newest is {newest}", "back it up, trimtab migrate"
        )


def _kernel() -> Iterator[Finding]:
    jit = importlib.import_module("simulator.kernel.jit")
    folder: Path = jit.cache_folder()
    if folder.is_relative_to(tempfile.gettempdir()) and "TRIMTAB_CACHE_DIR" not in os.environ:
        yield Finding("cache", "warn", f"{folder} does not last", "set TRIMTAB_CACHE_DIR to a folder that can be written")
    else:
        yield Finding("cache", "ok", f"{folder} can be written")
    compiled = sum(1 for _ in folder.rglob("*.nbc"))
    if compiled:
        yield Finding("kernel", "ok", f"{compiled} compiled functions")
    else:
        yield Finding("kernel", "warn", "not compiled: the first simulation takes minutes", "trimtab warmup")


def _ray(address: str | None) -> Iterator[Finding]:
    if not address or address in ("auto", "local"):
        yield Finding("ray cluster", "ok", "none is named: Ray runs on this machine")
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=3).close()
    except (OSError, ValueError) as error:
        yield Finding("ray cluster", "fail", f"{address}: {error}", "start it, or correct RAY_ADDRESS")
    else:
        yield Finding("ray cluster", "ok", f"{address} answers")


def _gpus() -> Iterator[Finding]:
    program = shutil.which("nvidia-smi")
    if program is None:
        yield Finding("gpus", "ok", "none seen; only profiling and validation need one")
        return
    try:
        asked = [program, "--query-gpu=name", "--format=csv,noheader"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=15, check=False)
    except subprocess.TimeoutExpired:
        yield Finding("gpus", "warn", "nvidia-smi does not answer", "look at the driver")
        return
    names = done.stdout.split("\n")[:-1]
    if done.returncode or not names:
        yield Finding("gpus", "warn", "nvidia-smi finds none", "look at the driver, where a GPU is wanted")
    else:
        yield Finding("gpus", "ok", ", ".join(f"{names.count(name)}x {name}" for name in dict.fromkeys(names)))


def _disk(db: str) -> Iterator[Finding]:
    from db.location import database_url

    url = database_url(db)
    is_file = url.get_backend_name() == "sqlite"
    folder = Path(url.database or ".").parent if is_file else Path.cwd()
    free = shutil.disk_usage(folder).free
    told = f"{free / 2**30:,.1f} GiB free in {folder}"
    yield Finding("disk", "ok", told) if free >= LOW_BYTES else Finding("disk", "warn", told, "make room, or trimtab prune")


def _uploads() -> Iterator[Finding]:
    from simulator import uploads

    place = uploads.folder()
    there = next(parent for parent in (place, *place.parents) if parent.exists())
    if os.access(there, os.W_OK):
        yield Finding("traces", "ok", f"{place} can be written")
    else:
        yield Finding("traces", "fail", f"{place} cannot be written", "set TRIMTAB_TRACES to a folder that can")
