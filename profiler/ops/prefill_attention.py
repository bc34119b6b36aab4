"""Attention of one chunk after what is cached of its sequence."""

from __future__ import annotations

from profiler.machine import Machine
from profiler.ops import attention
from profiler.ops.attention import Heads
from profiler.sample import Case, Place
from profiler.subject import Subject


def prepare(subject: Subject, place: Place, machine: Machine) -> Case:
    """Returns causal attention of `chunk` tokens, the mask at the bottom right."""
    chunk, before = place
    return Case(attention.chosen(machine).prefill(machine, Heads.of(subject.operator), chunk, before), flush=True)
