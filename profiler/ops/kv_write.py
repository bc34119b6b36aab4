"""Writing keys and values, or latents, to their slots of the cache."""

from __future__ import annotations

from profiler.machine import DTYPES, Machine
from profiler.sample import Case, Place
from profiler.subject import Subject
from simulator.optime.operators import ITEM_BYTES, Memory

# The cache is as large as makes slots lie apart, whatever the rows.
SLOTS_PER_ROW = 4


def prepare(subject: Subject, place: Place, machine: Machine) -> Case:
    """Returns the scatter of `rows` rows of keys and values to slots drawn at random."""
    operator, shard, (count,) = subject.operator, subject.shard, place
    assert isinstance(operator, Memory)
    stored = shard.precision.kv if shard.precision.kv in DTYPES else shard.dtype
    width = round(operator.bytes_per_row / (ITEM_BYTES[shard.dtype] + ITEM_BYTES[shard.precision.kv]))
    rows = machine.random(count, width, dtype=shard.dtype)
    cache = machine.empty(SLOTS_PER_ROW * count, width, dtype=stored)
    slots = machine.below(SLOTS_PER_ROW * count, count)
    return Case(lambda: cache.index_copy_(0, slots, rows.to(cache.dtype)), flush=False)
