"""Executors: one conformance suite for all that run here, and what only Ray has to show."""

import importlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.executor import Executor, Failed, auto, names
from simulator.errors import InputError

LOCAL = ("inline", "threads")


def never() -> bool:
    """Returns False: the study goes on."""
    return False


def square(number: int) -> int:
    """Returns the square; 13 raises."""
    if number == 13:
        raise ValueError("unlucky\nnumber")
    return number * number


@pytest.fixture(params=LOCAL)
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Returns every executor that needs nothing to be started."""
    with importlib.import_module(f"search.executor.{request.param}").create() as started:
        yield started


def test_every_item_is_given_once_with_its_index(executor: Executor) -> None:
    results = sorted(executor.map_unordered(square, range(5, 45), stop=never), key=lambda pair: pair[0])
    assert [index for index, _ in results] == list(range(40))
    assert [result for index, result in results if index != 8] == [n * n for n in range(5, 45) if n != 13]


def test_a_raising_item_is_failed_and_disturbs_no_other(executor: Executor) -> None:
    results = dict(executor.map_unordered(square, [2, 13, 4], stop=never))
    failed = results.pop(1)
    assert results == {0: 4, 2: 16}
    assert isinstance(failed, Failed)
    assert failed.error.startswith("ValueError: unlucky")
    assert "in square" in failed.trace


def test_nothing_is_given_for_no_items_and_an_executor_can_be_used_again(executor: Executor) -> None:
    assert list(executor.map_unordered(square, [], stop=never)) == []
    assert list(executor.map_unordered(square, [3], stop=never)) == [(0, 9)]


def test_once_stopped_no_item_starts_and_what_ran_is_given(executor: Executor) -> None:
    started: list[int] = []

    def work(number: int) -> int:
        started.append(number)
        time.sleep(0.002)
        return number

    results: list[int] = []
    for index, _ in executor.map_unordered(work, range(500), stop=lambda: len(results) >= 10):
        results.append(index)
    assert 10 <= len(results) < 60
    assert sorted(results) == sorted(started)


def test_an_abandoned_iterator_starts_no_more_items(executor: Executor) -> None:
    started: list[int] = []

    def work(number: int) -> int:
        started.append(number)
        time.sleep(0.002)
        return number

    results = executor.map_unordered(work, range(500), stop=never)
    next(results)
    results.close()  # type: ignore[attr-defined]
    executor.close()
    count = len(started)
    time.sleep(0.05)
    assert len(started) == count < 60


def test_threads_run_items_side_by_side() -> None:
    from search.executor.threads import Threads

    meeting = threading.Barrier(2, timeout=60)

    def meet(_: int) -> int:
        meeting.wait()
        return threading.get_ident()

    with Threads(workers=2) as pool:
        idents = [ident for _, ident in pool.map_unordered(meet, [0, 1], stop=never)]
    assert len(set(idents)) == 2
    assert threading.get_ident() not in idents


def test_auto_takes_threads_for_short_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for seconds in (None, 5.0):
        chosen, sentence = auto.choose("auto", seconds)
        with chosen:
            assert type(chosen).__name__ == "Threads"
            assert sentence.startswith(f"threads ({chosen.workers} at a time): ")


@pytest.mark.parametrize(("seconds", "address"), [(900.0, None), (1.0, "10.0.0.1:6379"), (None, "10.0.0.1:6379")])
def test_auto_takes_ray_for_long_work_and_for_a_cluster(
    seconds: float | None, address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from search.executor import inline, ray

    addresses: list[str | None] = []

    def create(given: str | None) -> Executor:
        addresses.append(given)
        return inline.create()

    monkeypatch.setattr(ray, "create", create)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if seconds is None and address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    _, sentence = auto.choose("auto", seconds, None if seconds is None else address)
    assert sentence.startswith("ray ")
    assert addresses == [address]


def test_an_unknown_executor_is_refused_with_the_choices() -> None:
    assert names() == ("auto", "inline", "ray", "threads")
    with pytest.raises(InputError, match="threads, auto, inline, ray"):
        auto.choose("thread", 1.0)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "ray://127.0.0.1:1"])
def test_a_cluster_that_does_not_answer_is_refused_at_once(address: str) -> None:
    with pytest.raises(InputError, match=rf"^RAY_ADDRESS: '{address}' is not allowed; allowed: auto, or host:port of a Ray"):
        auto.choose("ray", None, address)


def test_chunks_grow_to_a_second_of_work_and_leave_a_share_for_every_worker() -> None:
    from search.executor.ray import _Chunks

    chunks = _Chunks(range(1000), workers=4)
    sizes = []
    while chunks:
        indices = chunks.take()
        sizes.append(len(indices))
        chunks.measured(len(indices), 0.01 * len(indices))
    assert sum(sizes) == 1000
    assert sizes[:5] == [1, 4, 16, 64, 100]
    assert max(sizes) == 100
    assert sizes[-4:] == sorted(sizes[-4:], reverse=True)
    assert sizes[-1] == 1


@pytest.fixture(scope="session")
def ray_executor() -> Iterator[Executor]:
    """Starts one Ray on this machine for the whole session."""
    before = os.environ.get("RAY_AUTH_MODE")
    os.environ["RAY_AUTH_MODE"] = "disabled"
    from search.executor.ray import RayExecutor

    with RayExecutor(workers=2) as started:
        yield started
    if before is None:
        del os.environ["RAY_AUTH_MODE"]


def where(number: int) -> tuple[int, int]:
    """Returns the square and the process that computed it."""
    return square(number), os.getpid()


def kill_once(entry: tuple[int, str]) -> tuple[int, int]:
    """Kills its own process the first time that it meets item 30."""
    number, flag = entry
    if number == 30 and not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number, os.getpid()


def kill_always(number: int) -> int:
    """Kills its own process at item 2."""
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.slow
def test_ray_runs_items_in_other_processes(ray_executor: Executor) -> None:
    results = dict(ray_executor.map_unordered(where, range(40), stop=never))
    assert sorted(results) == list(range(40))
    failed = results.pop(13)
    assert isinstance(failed, Failed)
    assert failed.error.startswith("ValueError: unlucky")
    assert all(not isinstance(result, Failed) and result[0] == n * n for n, result in results.items())
    assert os.getpid() not in {result[1] for result in results.values() if not isinstance(result, Failed)}


@pytest.mark.slow
def test_ray_retries_the_items_of_a_killed_worker(ray_executor: Executor, tmp_path: Path) -> None:
    flag = tmp_path / "killed"
    results = dict(ray_executor.map_unordered(kill_once, [(n, str(flag)) for n in range(60)], stop=never))
    assert flag.exists()
    assert {index: result[0] for index, result in results.items() if not isinstance(result, Failed)} == {n: n for n in range(60)}


@pytest.mark.slow
def test_ray_gives_up_only_on_the_item_that_always_kills_its_worker(ray_executor: Executor) -> None:
    results = dict(ray_executor.map_unordered(kill_always, range(8), stop=never))
    failed = results.pop(2)
    assert isinstance(failed, Failed)
    assert results == {n: n for n in range(8) if n != 2}


@pytest.mark.slow
def test_ray_stops_between_chunks(ray_executor: Executor) -> None:
    results: list[int] = []
    for index, _ in ray_executor.map_unordered(time.sleep, [0.05] * 400, stop=lambda: bool(results)):
        results.append(index)
    assert 1 <= len(results) < 200
