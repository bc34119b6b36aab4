"""A process that is to run as long as another: started again when it dies, and ended with who started it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

from search.supervisor import Supervisor
from tests.api.asking import until

NOTE = "import os, sys, time; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); "


def starts(notes: Path) -> list[int]:
    """Returns the ids of the processes that were started, oldest first."""
    return [int(line) for line in notes.read_text().split()] if notes.exists() else []


def test_what_dies_is_started_again_ever_later(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with Supervisor([sys.executable, "-c", NOTE + "sys.exit(3)", str(notes)], first_wait_s=0.05) as watched:
        until(lambda: len(starts(notes)) >= 3, 120, "it was not started three times")
    ended = len(starts(notes))
    assert watched.starts == ended
    assert len(set(starts(notes))) == ended


def test_the_end_ends_it_also_where_it_will_not(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with Supervisor([sys.executable, "-c", NOTE + "time.sleep(600)", str(notes)]) as watched:
        until(lambda: bool(starts(notes)), 120, "it was not started")
    assert watched.process is not None and watched.process.returncode is not None
    assert not psutil.pid_exists(starts(notes)[0])


def test_who_is_killed_takes_it_along(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    child = [sys.executable, "-c", NOTE + "time.sleep(600)", str(notes)]
    code = f"import time; from search.supervisor import Supervisor\nwith Supervisor({child!r}): time.sleep(600)"
    parent = subprocess.Popen([sys.executable, "-c", code])
    try:
        until(lambda: bool(starts(notes)), 120, "it was not started")
    finally:
        parent.kill()
        parent.wait()
    until(lambda: not psutil.pid_exists(starts(notes)[0]), 120, "it outlived who started it")
