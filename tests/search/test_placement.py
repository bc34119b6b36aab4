"""Where a run on a real engine takes place, and that nothing is left of it, however it ends."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from profiler.load import engines
from profiler.load.engines import Launch, faults
from search import placement
from search.placement import Displaced, Overdue, Place, Withdrawn
from simulator.errors import InputError
from simulator.resolve import resolve
from simulator.spec.deployment import Deployment
from tests.profiler.load.faking import SERVER, gone, told


def deployment(**knobs: Any) -> Any:
    return resolve(Deployment.parse({"model": "meta-llama/Llama-3.1-8B", "device": "H100-SXM", **knobs}))


def test_what_needs_neither_gpus_nor_a_cluster_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    place = placement.place_of(deployment(tensor_parallel_size=4), "openai")
    assert place == Place() and place.here
    assert placement.run(os.getpid, place) == os.getpid()
    with pytest.raises(ZeroDivisionError):
        placement.run(partial(divmod, 1, 0), place)


def test_a_replica_takes_its_gpus_on_the_cluster_that_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    asked = deployment(tensor_parallel_size=2, pipeline_parallel_size=2, replicas=3)
    assert placement.place_of(asked, "vllm") == Place(4, "H100-SXM", "10.0.0.1:6379")
    assert placement.place_of(asked, "vllm", "ray:1").address == "ray:1"
    assert placement.place_of(asked, "openai") == Place()


NODES = [{"CPU": 8.0, "GPU": 2.0, "accelerator_type:H100": 1.0}, {"CPU": 8.0, "GPU": 8.0, "accelerator_type:L40S": 1.0}]


def test_the_node_is_one_that_says_it_has_the_device() -> None:
    assert placement._kind(Place(1, "H100-SXM"), NODES) == "accelerator_type:H100"
    assert placement._kind(Place(1, "H100-SXM"), [*NODES, {"H100-SXM": 8.0}]) == "H100-SXM"
    assert placement._kind(Place(1, "H100-SXM"), [{"CPU": 8.0, "GPU": 2.0}]) is None
    assert placement._kind(Place(0), NODES) is None
    with pytest.raises(InputError, match="device: 'B200-SXM' is not allowed; allowed: what the nodes of Ray have: H100, L40S"):
        placement._kind(Place(1, "B200-SXM"), NODES)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Starts a Ray on this machine that says it has two GPUs."""
    ray = pytest.importorskip("ray")
    from search.executor.ray import start

    patch = pytest.MonkeyPatch()
    init = ray.init
    patch.setattr(ray, "init", lambda **more: init(**more, num_gpus=2, resources={"accelerator_type:H100": 1}))
    # Another test of this process may have left one running.
    ray.shutdown()
    start("local", 2)
    yield
    ray.shutdown()
    patch.undo()


def measured(folder: Path, behaviour: str, seconds: float) -> tuple[str | None, str | None]:
    """Serves a fake engine for some seconds; returns the GPUs and the threads that the server was given."""
    import sys

    command = partial(_command, sys.executable, behaviour, str(folder / "pids"))
    with engines.engine("vllm").serve(Launch("m", folder, command=command, grace_s=0.3)):
        time.sleep(seconds)
        return os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("OMP_NUM_THREADS")


def _command(python: str, behaviour: str, pids: str, port: int) -> list[str]:
    return [python, "-S", SERVER, str(port), behaviour, pids]


PLACE = Place(1, "H100-SXM")


@pytest.mark.slow
def test_a_run_holds_its_gpus_and_gives_them_back(cluster: None, tmp_path: Path) -> None:
    for turn in range(3):
        gpus, threads = placement.run(partial(measured, tmp_path / str(turn), "ok", 0.0), Place(2, "H100-SXM"), timeout_s=180)
        assert gpus == "0,1" and threads == os.environ.get("OMP_NUM_THREADS")
        assert gone(told(tmp_path / str(turn) / "pids"), 0)


@pytest.mark.slow
def test_a_fault_of_the_engine_is_raised_as_it_is(cluster: None, tmp_path: Path) -> None:
    with pytest.raises(faults.OutOfMemory, match=r"20\.00 GiB") as raised:
        placement.run(partial(measured, tmp_path, "oom", 0.0), PLACE, timeout_s=180)
    assert raised.value.kind == "out_of_memory" and raised.value.log == tmp_path / "vllm.log"


@pytest.mark.slow
def test_a_run_that_is_overdue_stopped_or_interrupted_leaves_nothing(cluster: None, tmp_path: Path) -> None:
    def started(name: str) -> bool:
        return (tmp_path / name / "pids").exists()

    def interrupt() -> bool:
        if started("interrupted"):
            raise KeyboardInterrupt
        return False

    with pytest.raises(Overdue):
        placement.run(partial(measured, tmp_path / "overdue", "stubborn", 600.0), PLACE, timeout_s=8)
    with pytest.raises(Withdrawn):
        placement.run(partial(measured, tmp_path / "stopped", "stubborn", 600.0), PLACE, stop=lambda: started("stopped"))
    with pytest.raises(KeyboardInterrupt):
        placement.run(partial(measured, tmp_path / "interrupted", "stubborn", 600.0), PLACE, stop=interrupt)
    # Time may have been up before the server had started.
    for name in filter(started, ("overdue", "stopped", "interrupted")):
        assert gone(told(tmp_path / name / "pids")), name


@pytest.mark.slow
def test_a_worker_that_is_lost_is_told(cluster: None, tmp_path: Path) -> None:
    with pytest.raises(Displaced, match="lost"):
        placement.run(partial(os._exit, 9), PLACE, timeout_s=180)


@pytest.mark.slow
def test_gpus_that_no_node_has_are_refused_and_those_in_use_are_waited_for(cluster: None, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gpus_per_replica: 3 is not allowed; allowed: up to the 2 GPUs"):
        placement.run(os.getpid, Place(3, "H100-SXM"))
    done: list[object] = []
    both = Place(2, "H100-SXM")
    first = threading.Thread(target=lambda: done.append(placement.run(partial(measured, tmp_path, "ok", 5.0), both)))
    first.start()
    while not (tmp_path / "pids").exists():
        time.sleep(0.05)
    with pytest.raises(Overdue):
        placement.run(os.getpid, both, timeout_s=0.5)
    assert placement.run(os.getpid, both, timeout_s=180) != os.getpid()
    first.join()
    assert done
