"""Short work in processes of its own: answers, refusals on purpose, what is too long or too large, and no place left."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from search.bounded import Bounded, Full, TooLong
from simulator.errors import InputError


@pytest.fixture(scope="module")
def bounded() -> Iterator[Bounded]:
    """Yields one place of four seconds."""
    made = Bounded(1, 4.0)
    yield made
    made.close()


def test_the_answer_is_worked_out_by_another_process(bounded: Bounded) -> None:
    first = bounded.call(os.getpid)
    assert first != os.getpid()
    assert bounded.call(os.getpid) == first


def test_what_is_refused_on_purpose_is_told_as_it_was(bounded: Bounded) -> None:
    with pytest.raises(InputError, match="slo: 3 is not allowed"):
        bounded.call(refuse)


def test_what_takes_too_long_is_ended_with_its_process_and_the_next_call_is_answered(bounded: Bounded) -> None:
    before = bounded.call(os.getpid)
    began = time.monotonic()
    with pytest.raises(TooLong):
        bounded.call(time.sleep, 60)
    assert time.monotonic() - began < 30
    assert bounded.call(os.getpid) not in (before, os.getpid())
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)


def test_a_process_that_dies_at_work_ends_the_call_alone(bounded: Bounded) -> None:
    with pytest.raises(TooLong):
        bounded.call(os._exit, 3)
    assert bounded.call(len, "four") == 4


def test_more_memory_than_there_is_for_it_is_refused(bounded: Bounded) -> None:
    with pytest.raises(TooLong):
        bounded.call(bytearray, 2**36)
    assert bounded.call(len, "four") == 4


def test_a_call_without_a_place_is_refused_at_once_and_what_is_interrupted_ends_at_once() -> None:
    made = Bounded(1, 60.0)
    ended: list[BaseException] = []

    def call() -> None:
        try:
            made.call(time.sleep, 60)
        except TooLong as error:
            ended.append(error)

    assert made.call(len, "four") == 4
    waiting = threading.Thread(target=call)
    waiting.start()
    while not made.busy:
        time.sleep(0.01)
    with pytest.raises(Full):
        made.call(len, "four")
    made.interrupt()
    waiting.join(30)
    assert not waiting.is_alive() and len(ended) == 1
    assert made.busy == 0 and made.call(len, "four") == 4
    made.close()


def refuse() -> None:
    """Raises what a wrong request raises."""
    raise InputError("slo", 3, "1 or 2")
