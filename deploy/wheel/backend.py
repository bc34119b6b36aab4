"""The build backend: setuptools', whose wheels then get all rooms under one name; editable installs are left as they are."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path
from typing import Any

from setuptools import build_meta as plain

HERE = Path(__file__).parent
ROOMS = ("simulator", "profiler", "search", "db", "dashboard", "deploy")
PACKAGE, WITHIN = "trimtab", "trimtab/rooms/"
Settings = dict[str, Any] | None

build_sdist = plain.build_sdist
build_editable = plain.build_editable
get_requires_for_build_sdist = plain.get_requires_for_build_sdist
get_requires_for_build_wheel = plain.get_requires_for_build_wheel
get_requires_for_build_editable = plain.get_requires_for_build_editable
prepare_metadata_for_build_editable = plain.prepare_metadata_for_build_editable


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """Returns the name of the wheel in the directory."""
    name: str = plain.build_wheel(wheel_directory, config_settings, metadata_directory)
    moved(Path(wheel_directory) / name)
    return name


def moved(wheel: Path) -> None:
    """Rewrites a wheel so that its rooms lie within one package, and its command begins there."""
    with zipfile.ZipFile(wheel) as old:
        files = {_place(item.filename): old.read(item) for item in old.infolist() if not item.is_dir()}
    [record] = [name for name in files if name.endswith(".dist-info/RECORD")]
    info = record.rpartition("/")[0]
    del files[record]
    for source in sorted((HERE / PACKAGE).glob("*.py")):
        files[f"{PACKAGE}/{source.name}"] = source.read_bytes()
    files[f"{info}/entry_points.txt"] = files[f"{info}/entry_points.txt"].replace(b"search.cli:entry", b"trimtab:entry")
    files[f"{info}/top_level.txt"] = f"{PACKAGE}\n".encode()
    lines = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in files.items()]
    files[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in files.items():
            # A fixed time, so that the same sources give the same wheel.
            new.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)


def _place(name: str) -> str:
    return WITHIN + name if name.split("/")[0] in ROOMS else name


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
