"""No process is left of a server, however its user ends: orderly, by a signal, or by SIGKILL."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from profiler.load import engines
from profiler.load.engines import faults
from tests.profiler.load.faking import SERVER, Fake, gone, launch, told

# Where this test runs in the background of a shell, SIGINT is ignored by what it starts.
USER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from profiler.load import engines
from profiler.load.engines import faults
command = lambda port: [sys.executable, "-S", {server!r}, str(port), "stubborn", {pids!r}]
with engines.engine("vllm").serve(engines.Launch("m", Path({folder!r}), command=command, grace_s=0.3)) as served:
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("behaviour", ["family", "stubborn"])
def test_leaving_ends_the_server_its_workers_and_those_in_sessions_of_their_own(behaviour: str, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with engines.engine("vllm").serve(launch(tmp_path, Fake(behaviour, str(pids)))) as served:
        assert served.ready_after_s > 0 and served.log == tmp_path / "vllm.log"
        assert len(told(pids)) == 3 and not gone(told(pids), 0)
    assert gone(told(pids), 0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_user_is_ended(number: signal.Signals, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = USER.format(server=SERVER, pids=str(pids), folder=str(tmp_path))
    user = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert user.stdout is not None
    with user.stdout:
        assert user.stdout.readline() == "ready\n"
        family = [process.pid for process in psutil.Process(user.pid).children(recursive=True)]
        assert len(set(family) | set(told(pids))) >= 4
        user.send_signal(number)
        user.wait(60)
    assert gone({*family, *told(pids)})


@pytest.mark.parametrize("above", [1, 2])
def test_nothing_is_left_when_the_guard_or_the_sentry_is_killed(above: int, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(faults.Died), engines.engine("vllm").serve(launch(tmp_path, Fake("stubborn", str(pids)))):
        server, *workers = told(pids)
        psutil.Process(server).parents()[above - 1].kill()
        assert gone([server, *workers])


def test_nothing_is_left_when_the_user_and_its_children_are_killed_together(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = USER.format(server=SERVER, pids=str(pids), folder=str(tmp_path))
    user = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert user.stdout is not None
    with user.stdout:
        assert user.stdout.readline() == "ready\n"
        for process in (*psutil.Process(user.pid).children(), psutil.Process(user.pid)):
            process.kill()
        user.wait(60)
    assert gone(told(pids))


def test_the_output_of_each_start_is_kept_in_a_file_of_its_own(tmp_path: Path) -> None:
    logs = []
    for _ in range(2):
        with engines.engine("vllm").serve(launch(tmp_path / "a" / "b", Fake("ok"))) as served:
            logs.append(served.log)
    assert logs == [tmp_path / "a" / "b" / name for name in ("vllm.log", "vllm-2.log")]


def test_an_end_is_orderly_where_the_server_takes_it(tmp_path: Path) -> None:
    began = time.monotonic()
    command = launch(tmp_path, Fake("ok"), grace_s=30)
    with engines.engine("vllm").serve(command):
        pass
    assert time.monotonic() - began < 15
