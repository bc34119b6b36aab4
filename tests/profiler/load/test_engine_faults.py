"""Servers that go wrong: each is told apart, in one line with its log's path, and nothing of it is left running."""

from __future__ import annotations

import pickle
import socket
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from profiler.load import engines
from profiler.load.engines import _log, _port, _server, faults
from profiler.load.engines.faults import EngineFault
from tests.profiler.load.faking import Fake, gone, launch, told

AT_START = {
    "dies_at_once": (faults.Died, "exit status 7; its last lines: ValueError: no such thing"),
    "killed": (faults.Died, "the server ended by SIGKILL"),
    "oom": (faults.OutOfMemory, "CUDA out of memory. Tried to allocate 20.00 GiB"),
    "500": (faults.ServerError, "failed 3 times: 500"),
    "404": (faults.Refused, "no such model"),
    "malformed": (faults.Malformed, "{broken"),
    "not_a_stream": (faults.Malformed, "server-sent events"),
    "empty": (faults.Malformed, "no token"),
    "garbage": (faults.Malformed, "does not speak HTTP"),
}


@pytest.mark.parametrize("behaviour", AT_START)
def test_a_server_that_cannot_be_measured_is_told_apart_and_ended(behaviour: str, tmp_path: Path) -> None:
    kind, words = AT_START[behaviour]
    pids = tmp_path / "pids"
    with (
        pytest.raises(kind) as raised,
        engines.engine("vllm").serve(launch(tmp_path / "logs", Fake(behaviour, str(pids)))),
    ):
        pass
    fault = raised.value
    assert isinstance(fault, EngineFault) and type(fault) is kind
    assert words in fault.reason and "\n" not in str(fault)
    assert fault.log == tmp_path / "logs" / "vllm.log" and str(fault.log) in str(fault)
    assert not pids.exists() or gone(told(pids), 0)


def test_a_server_that_is_never_ready_is_given_up_in_time(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    command = Fake("never_ready", str(pids))
    with pytest.raises(faults.NeverReady, match="503"), engines.engine("sglang").serve(launch(tmp_path, command, ready_s=1.5)):
        pass
    assert gone(told(pids), 0)


@pytest.mark.parametrize(("behaviour", "kind"), [("dies", faults.Died), ("oom_later", faults.OutOfMemory)])
def test_a_server_that_ends_in_use_explains_what_the_client_met(behaviour: str, kind: type[EngineFault], tmp_path: Path) -> None:
    with pytest.raises(kind) as raised, engines.engine("vllm").serve(launch(tmp_path, Fake(behaviour))) as served:
        assert served.fault() is None
        urllib.request.urlopen(urllib.request.Request(f"{served.url}/v1/completions", b"{}"), timeout=10)
    assert isinstance(raised.value.__cause__, OSError)


def test_an_end_in_use_is_told_even_when_the_client_kept_quiet(tmp_path: Path) -> None:
    with (
        pytest.raises(faults.Died, match="core is lost"),
        engines.engine("vllm").serve(launch(tmp_path, Fake("dies"))) as served,
        suppress(OSError),
    ):
        urllib.request.urlopen(urllib.request.Request(f"{served.url}/v1/completions", b"{}"), timeout=10)


def test_what_the_block_raises_of_a_healthy_server_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), engines.engine("vllm").serve(launch(tmp_path, Fake("ok"))):
        raise ZeroDivisionError


def test_a_taken_port_is_tried_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = [_port.free_port() for _ in range(2)]
    with socket.create_server(("127.0.0.1", ports[0])) as held:
        command = Fake("ok")
        monkeypatch.setattr(_server, "free_port", lambda: ports[len(command.ports)])
        with engines.engine("vllm").serve(launch(tmp_path, command)) as served:
            assert served.url.endswith(str(ports[1])) and command.ports == ports
        monkeypatch.setattr(_server, "free_port", lambda: ports[0])
        with pytest.raises(faults.PortTaken), engines.engine("vllm").serve(launch(tmp_path, Fake("ok"))):
            pass
        held.getsockname()


def test_another_server_on_the_port_is_not_taken_for_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with engines.engine("vllm").serve(launch(tmp_path, Fake("ok"))) as other:
        port = int(other.url.rpartition(":")[2])
        monkeypatch.setattr(_server, "free_port", lambda: port)
        with pytest.raises(faults.PortTaken), engines.engine("sglang").serve(launch(tmp_path, Fake("late"))):
            pass


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(faults.NotStarted, match="no-such-program: No such file"),
        engines.engine("vllm").serve(launch(tmp_path, lambda port: ["no-such-program"])),
    ):
        pass


def test_every_fault_has_a_kind_of_its_own_and_travels_between_processes() -> None:
    kinds: list[type[EngineFault]] = [EngineFault, *EngineFault.__subclasses__()]
    assert len({kind.kind for kind in kinds}) == len(kinds)
    for kind in kinds:
        fault = kind("two\nlines", Path("a.log"))
        again = pickle.loads(pickle.dumps(fault))
        assert type(again) is kind and str(again) == str(fault) == "two lines (log: a.log)" and again.log == fault.log


@pytest.mark.parametrize(
    "line",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB.",
        "RuntimeError: CUDA error: out of memory",
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
        "ValueError: Free memory on device (3.1/79.2 GiB) on startup is less than desired GPU memory utilization (0.9, 71.3 GiB).",
        "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.",
    ],
)
def test_what_engines_say_of_a_full_gpu_is_recognised(line: str, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text(f"loading\n{line}\nTraceback (most recent call last):\nbye\n", encoding="utf-8")
    fault = _log.fault_of("the server ended", log)
    assert isinstance(fault, faults.OutOfMemory) and line in fault.reason


def test_a_log_may_hold_anything(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"\xff\xfe\x00 progress 1%\r progress 2%\r" + b"x" * 600_000)
    assert len(_log.last_lines(log, 3)) <= _log.TOLD_CHARACTERS + 3
    log.write_bytes(b"")
    assert "wrote nothing" in str(_log.fault_of("the server ended", log))
