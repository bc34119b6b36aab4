"""What decodes add to the attention of a chunk, which is a part of their step."""

from __future__ import annotations

from profiler.machine import Machine
from profiler.ops import attention
from profiler.ops.attention import Heads
from profiler.sample import Case, Place
from profiler.subject import Subject

# Short, so that what is added is not lost in the noise of the chunk.
CHUNK = 64


def prepare(subject: Subject, place: Place, machine: Machine) -> Case:
    """Returns decodes beside a chunk of a new sequence, over that chunk alone."""
    decodes, kv = place
    backend, heads = attention.chosen(machine), Heads.of(subject.operator)
    alone = backend.prefill(machine, heads, CHUNK, 0)
    return Case(backend.mixed(machine, heads, CHUNK, decodes, kv), flush=True, baseline=alone)
