"""The wheel: one name beside other packages', everything that a search and the pages need, away from the repository."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.api.asking import REQUEST
from tests.shared import REPOSITORY

pytestmark = pytest.mark.slow
ROOMS = ("simulator", "profiler", "search", "db", "dashboard", "deploy")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the wheel, built from a copy, since builds leave files in their folder."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for room in ROOMS:
        shutil.copytree(REPOSITORY / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "NOTICE"):
        shutil.copy(REPOSITORY / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [found] = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def trimtab(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the command, installed from the wheel into an environment that sees this one's other packages."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    # Of this environment's packages, not of the editable install in it, whose own .pth is not read from here.
    (site / "beside.pth").write_text(sysconfig.get_path("purelib"))
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet", "--no-deps"]
    done = subprocess.run([*command, str(wheel)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "bin" / "trimtab"


def run(*command: str | Path, at: Path) -> str:
    """Returns what a command prints, run away from the repository."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(each) for each in command], cwd=at, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_only_one_name_lies_beside_other_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
        tops = {name.split("/")[0] for name in names}
        assert tops == {"trimtab", next(top for top in tops if top.endswith(".dist-info"))}
        assert {name.split("/")[2] for name in names if name.startswith("trimtab/rooms/")} == set(ROOMS)
        [record] = [name for name in names if name.endswith("RECORD")]
        for name, told, size in csv.reader(io.StringIO(opened.read(record).decode())):
            content = opened.read(name)
            if name != record:
                digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
                assert (told, size) == (f"sha256={digest}", str(len(content)))


def test_every_file_that_is_read_at_run_time_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        there = {name.removeprefix("trimtab/rooms/") for name in opened.namelist()}
    tracked = subprocess.run(["git", "ls-files", *ROOMS], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    wanted = {name for name in tracked.splitlines() if not name.startswith(("deploy/wheel/", "deploy/service/"))}
    assert wanted - there == set()


def test_a_search_runs_from_it_and_its_rooms_are_those_of_the_wheel(trimtab: Path, tmp_path: Path) -> None:
    (tmp_path / "request.yaml").write_text(yaml.safe_dump({**REQUEST, "space": {"device": ["H100-SXM"]}}))
    assert "H100-SXM" in run(trimtab, "search", "request.yaml", "--executor", "inline", at=tmp_path)
    assert "small" in run(trimtab, "studies", at=tmp_path)
    run(trimtab, "export", "small", "study.html", at=tmp_path)
    assert "small" in (tmp_path / "study.html").read_text()
    python = trimtab.with_name("python")
    place = run(python, "-c", "import trimtab, search.cli; print(search.cli.__file__)", at=tmp_path)
    assert "/trimtab/rooms/search/" in place
    assert run(python, "-m", "trimtab", "catalog", "devices", at=tmp_path) == run(trimtab, "catalog", "devices", at=tmp_path)


def test_other_names_are_left_alone_until_it_is_imported(trimtab: Path, tmp_path: Path) -> None:
    code = "import importlib.util as found; print(found.find_spec('search'))"
    assert run(trimtab.with_name("python"), "-I", "-c", code, at=tmp_path).strip() == "None"
