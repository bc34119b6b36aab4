"""Residual additions that stand alone."""

from __future__ import annotations

from profiler.machine import Machine
from profiler.sample import Case, Place
from profiler.subject import Subject
from simulator.optime.operators import ITEM_BYTES, Memory


def prepare(subject: Subject, place: Place, machine: Machine) -> Case:
    """Returns the sum of two or, when its bytes say so, three hidden states."""
    operator, shard = subject.operator, subject.shard
    assert isinstance(operator, Memory)
    width = shard.model.hidden_size
    terms = round(operator.bytes_per_row / ITEM_BYTES[shard.dtype]) // width - 1
    first, *others = (machine.random(place[0], width, dtype=shard.dtype) for _ in range(terms))

    def run() -> object:
        total = first
        for other in others:
            total = total + other
        return total

    return Case(run, flush=False)
