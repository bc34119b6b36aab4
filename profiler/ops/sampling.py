"""Choosing a token from logits: in 32 bits, the greatest."""

from __future__ import annotations

from profiler.machine import Machine
from profiler.sample import Case, Place
from profiler.subject import Subject


def prepare(subject: Subject, place: Place, machine: Machine) -> Case:
    """Returns the choice for `rows` sequences, over the whole vocabulary."""
    logits = machine.random(place[0], subject.shard.model.vocab_size, dtype=subject.shard.dtype)
    return Case(lambda: logits.float().argmax(dim=-1), flush=False)
