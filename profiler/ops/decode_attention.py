"""Attention of decodes of equal KV."""

from __future__ import annotations

from profiler.machine import Machine
from profiler.ops import attention
from profiler.ops.attention import Heads
from profiler.sample import Case, Place
from profiler.subject import Subject


def prepare(subject: Subject, place: Place, machine: Machine) -> Case:
    """Returns one token each of `decodes` sequences with `kv` tokens, the new one counted."""
    decodes, kv = place
    return Case(attention.chosen(machine).decode(machine, Heads.of(subject.operator), decodes, kv), flush=True)
