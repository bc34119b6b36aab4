"""What is measured: the operators of a model family for every shard, each shape once, and the grid to start from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from profiler import ops
from profiler.subject import ONE, Subject
from simulator import catalog
from simulator.optime.attended import DecodeAttention, LatentDecode, LatentPrefill, PrefillAttention
from simulator.optime.families import Shard
from simulator.optime.operators import Collective, Experts, Operator, Transfer
from simulator.optime.shapes import DECODE, EXTENTS, MIXED, PREFILL, Key, key_of

LEAST_CHUNK, LEAST_KV, LEAST_BYTES = 16, 16, 1024
# Steps of kv_before and of the KV of decodes are coarser to begin with.
KV_STEP = 4


@dataclass(frozen=True)
class Limits:
    """Up to where operators are measured: tokens and sequences of a step, tokens of a sequence."""

    tokens: int = 8192
    sequences: int = 256
    length: int = 8192


def subjects_of(shards: Iterable[Shard], limits: Limits) -> tuple[list[Subject], list[str]]:
    """Returns every shape that the shards' iterations have and that is measured here, and the names of those that are not."""
    found: dict[Key, Subject] = {}
    left_out: dict[str, None] = {}
    for shard in shards:
        for operator, extents in _operators(shard, limits):
            key = key_of(operator)
            if key is None or ops.file_of(operator) is None:
                left_out[operator.name] = None
                continue
            known = found.get(key)
            lines = _lines(operator, extents)
            if known is None or lines > known.lines:
                found[key] = Subject(operator, shard, lines, limits.length + limits.length // 2)
    return list(found.values()), list(left_out)


def _operators(shard: Shard, limits: Limits) -> Iterator[tuple[Operator, tuple[int, ...]]]:
    """Yields the operators of an iteration with how far their extents go."""
    family = catalog.module("families", shard.model.family, "model.family")
    family.check(shard)
    for operator in family.token_operators(shard, ONE, False):
        yield operator, _reach(operator, limits, limits.tokens)
    for operator in family.sampled_operators(shard, ONE):
        yield operator, _reach(operator, limits, limits.sequences)
    for operator in family.prefill_operators(shard, ONE, ONE):
        yield operator, _reach(operator, limits, limits.length)
    for operator in family.decode_operators(shard, ONE, np.ones(1)):
        yield operator, _reach(operator, limits, limits.sequences)
        if isinstance(operator, DecodeAttention):
            yield replace(operator, beside_chunk=1), _reach(operator, limits, limits.sequences)


def _reach(operator: Operator, limits: Limits, rows: int) -> tuple[int, ...]:
    """Returns the last value of each extent."""
    match operator:
        case Experts():
            every = rows * operator.top_k * operator.local_experts // operator.experts
            return max(every, operator.local_experts), operator.local_experts
        case PrefillAttention() | LatentPrefill():
            return min(limits.tokens, limits.length), max(limits.length - 1, 1)
        case DecodeAttention() | LatentDecode():
            window = getattr(operator, "window", None)
            return limits.sequences, min(limits.length, window or limits.length)
        case Collective() | Transfer():
            return (int(rows * operator.bytes_per_row),)
    return (rows,)


def _lines(operator: Operator, last: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    kind = str((key_of(operator) or ("",))[0])
    if kind == PREFILL:
        return _octaves(LEAST_CHUNK, last[0]), (0, *_octaves(LEAST_KV * KV_STEP, last[1], KV_STEP))
    if kind in (DECODE, MIXED):
        return _octaves(1, last[0]), _octaves(LEAST_KV, last[1], KV_STEP)
    if EXTENTS[kind] == ("bytes",):
        return (_octaves(LEAST_BYTES, last[0]),)
    return tuple(_octaves(1, each) for each in last)


def _octaves(first: int, last: int, step: int = 2) -> tuple[int, ...]:
    """Returns first, first x step, ... and last."""
    lines = [min(first, last)]
    while lines[-1] * step < last:
        lines.append(lines[-1] * step)
    return tuple(dict.fromkeys([*lines, last]))
