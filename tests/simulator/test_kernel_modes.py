"""Kernels give the same bits however they are compiled, and are compiled once for all processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from simulator.kernel import digest, jit, loop
from tests.invariants import replay
from tests.invariants.cases import MODES, play
from tests.invariants.scenarios import small
from tests.shared import REPOSITORY

COMPILED_LOOP = """
from simulator.kernel import loop
from tests.invariants.cases import play
from tests.invariants.scenarios import small
for scheduler in ("vllm_v1", "orca"):
    play(small(scheduler)["tight pool"])
stats = loop.run.stats
print(len(loop.run.signatures), sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


def python(*arguments: str, **variables: str) -> str:
    """Returns what a new Python prints."""
    environment = {**os.environ, **variables}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def differing(one: dict[str, dict[str, str]], other: dict[str, dict[str, str]]) -> list[str]:
    """Returns the runs and columns that two documents do not share to the bit."""
    assert one.keys() == other.keys()
    return [f"{name}: {column}" for name, columns in one.items() for column in columns if columns[column] != other[name][column]]


@pytest.mark.slow
def test_interpreted_kernels_give_the_same_bits() -> None:
    interpreted = json.loads(python("-m", "tests.invariants.replay", NUMBA_DISABLE_JIT="1"))
    assert not differing(replay.document(), interpreted)
    preempting = [name for name, columns in interpreted.items() if int(columns["preemptions"]) > 0]
    assert {name.split(",")[0] for name in preempting} >= {"vllm_v1", "sarathi_serve", "vllm_v0"}


@pytest.mark.slow
def test_bounds_checked_kernels_give_the_same_bits() -> None:
    assert not differing(replay.document(), json.loads(python("-m", "tests.invariants.replay", NUMBA_BOUNDSCHECK="1")))


@pytest.mark.slow
def test_bounds_checks_see_an_index_outside() -> None:
    assert python("-m", "tests.invariants.outside", NUMBA_BOUNDSCHECK="1").startswith("IndexError")


@pytest.mark.slow
def test_faulty_policies_are_seen_on_the_kernels_own_loop() -> None:
    found = json.loads(python("-m", "tests.invariants.faulty_policies", NUMBA_DISABLE_JIT="1"))
    expected = {
        "honest": "",
        "leaks": "blocks return",
        "overtakes": "nobody overtakes",
        "waits_for_two": "no replica idles while work waits",
        "starves": "the scheduler left requests for ever",
        "honest, asked for the future": "",
        "shortest_first": "a policy cannot see output lengths",
    }
    assert {policy: law.split(":")[0] for policy, law in found.items()} == expected


def test_a_difference_is_seen() -> None:
    document = replay.document()
    name = next(iter(document))
    spoilt = {**document, name: {**document[name], "outcomes.itl_max": "00"}}
    assert differing(document, spoilt) == [f"{name}: outcomes.itl_max"]


# The cache


def test_one_compilation_serves_every_policy_and_process() -> None:
    for mode in MODES:
        play(small("vllm_v1")["tight pool"], mode)
    assert python("-c", COMPILED_LOOP).split() == ["1", "1", "0"]
    assert len(cast(Any, loop.run).signatures) == 1


@pytest.mark.parametrize("file", ["kernel/loop.py", "schedulers/vllm_v1.py", "routers/round_robin.py"])
def test_the_digest_follows_every_source(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("kernel", "schedulers", "routers"):
        shutil.copytree(digest.ROOT / room, tmp_path / room)
    monkeypatch.setattr(digest, "ROOT", tmp_path)
    before = digest.kernel_digest.__wrapped__()
    (tmp_path / "kernel" / "notes.txt").write_text("not compiled")
    assert before == digest.kernel_digest.__wrapped__() == digest.kernel_digest()
    with (tmp_path / file).open("a") as source:
        source.write("\n")
    assert digest.kernel_digest.__wrapped__() != before


def test_the_cache_folder_is_keyed_by_digest_and_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(jit, "BOUNDS_CHECK", False)
    plain = jit.cache_folder()
    monkeypatch.setattr(jit, "BOUNDS_CHECK", True)
    checked = jit.cache_folder()
    assert plain.parent == checked.parent == tmp_path
    assert plain.name == f"kernel-{digest.kernel_digest()}" and checked != plain


def test_a_folder_that_cannot_be_written_gives_way_to_a_temporary_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("TRIMTAB_CACHE_DIR", str(blocked))
    folder = jit.cache_folder()
    assert folder.is_dir() and blocked not in folder.parents
    folder.rmdir()


def test_a_copy_of_the_sources_elsewhere_compiles_nothing_anew(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "simulator", tmp_path / "simulator", ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "from simulator.kernel import jit, loop\n"
        "jit.ready(loop.run)\n"
        "print(loop.__file__, sum(loop.run.stats.cache_hits.values()), sum(loop.run.stats.cache_misses.values()))\n"
    )
    jit.ready(loop.run)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "simulator" / "kernel" / "loop.py"), "1", "0"]
