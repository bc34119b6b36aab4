"""The clock of a processor: what it times, what it flushes, when it takes more runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import cycle

import pytest

from profiler import clock
from profiler.machine import Machine
from profiler.sample import Case


class Counting(Machine):
    """A processor that counts its flushes."""

    def __init__(self) -> None:
        super().__init__("cpu")
        self.flushes = 0

    def flush(self) -> None:
        self.flushes += 1


class Timepiece:
    """Tells a time that goes on with what is run alone, whatever else the machine does."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def takes(self, seconds: float | Iterator[float]) -> Callable[[], None]:
        """Returns a run of so many seconds, or of the next of them."""

        def run() -> None:
            self.now += seconds if isinstance(seconds, float) else next(seconds)

        return run


@pytest.fixture
def timepiece(monkeypatch: pytest.MonkeyPatch) -> Timepiece:
    made = Timepiece()
    monkeypatch.setattr(clock, "perf_counter", made)
    return made


def test_a_run_takes_as_long_as_it_takes(timepiece: Timepiece) -> None:
    sample = clock.sample_of(Case(timepiece.takes(0.004), flush=False), Counting())
    assert sample.seconds == pytest.approx(0.004) and sample.spread == pytest.approx(0.0)
    assert sample.reps >= clock.LEAST_REPS


def test_the_machine_s_own_clock_is_read() -> None:
    sample = clock.sample_of(Case(lambda: time.sleep(0.004), flush=False), Counting())
    assert sample.seconds >= 0.004


@pytest.mark.parametrize("flush", [True, False])
def test_caches_are_flushed_before_every_run_or_none(flush: bool) -> None:
    machine, runs = Counting(), []
    sample = clock.sample_of(Case(lambda: runs.append(0), flush=flush), machine)
    assert machine.flushes == (sample.reps if flush else 0)
    assert len(runs) == sample.reps + clock.WARM_UPS if flush else len(runs) > sample.reps


def test_a_baseline_is_taken_off(timepiece: Timepiece) -> None:
    case = Case(timepiece.takes(0.008), flush=False, baseline=timepiece.takes(0.005))
    assert clock.sample_of(case, Counting()).seconds == pytest.approx(0.003)


def test_runs_that_disagree_get_company(timepiece: Timepiece) -> None:
    even = clock.sample_of(Case(timepiece.takes(0.01), flush=True), Counting())
    uneven = clock.sample_of(Case(timepiece.takes(cycle([0.001, 0.012])), flush=True), Counting())
    assert uneven.reps > even.reps
