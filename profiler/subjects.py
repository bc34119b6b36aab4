"""What is measured: the operators of a model family for every shard, each shape once, and the grid to start from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from profiler import ops
from profiler.sample import Place
from simulator import catalog
from simulator.optime.attended import DecodeAttention, LatentDecode, LatentPrefill, PrefillAttention
from simulator.optime.bound import bound
from simulator.optime.families import Shard
from simulator.optime.operators import Collective, Experts, Gemm, Memory, Operator, Transfer
from simulator.optime.shapes import DECODE, EXPERTS, EXTENTS, KEYS, MIXED, PREFILL, Key, key_of
from simulator.spec.device import Device

ONE = np.ones(1, dtype=np.int64)
LEAST_CHUNK, LEAST_KV, LEAST_BYTES = 16, 16, 1024
# Steps of kv_before and of the KV of decodes are coarser to begin with.
KV_STEP = 4


@dataclass(frozen=True)
class Limits:
    """Up to where operators are measured: tokens and sequences of a step, tokens of a sequence."""

    tokens: int = 8192
    sequences: int = 256
    length: int = 8192


@dataclass(frozen=True, eq=False)
class Subject:
    """An operator of one shape, the lines of the grid that it is measured on first, by extent, and up to which it makes sense.

    `shard` is the part of the model that it was found in.
    """

    operator: Operator
    shard: Shard
    lines: tuple[tuple[int, ...], ...]
    length: int

    @cached_property
    def key(self) -> Key:
        """The key of its table."""
        key = key_of(self.operator)
        assert key is not None, "only operators that a table can hold are subjects"
        return key

    @property
    def kind(self) -> str:
        """The kind of its table."""
        return str(self.key[0])

    @property
    def label(self) -> str:
        """What people read: the kind and its shape."""
        return " ".join(str(part) for part in self.key)

    def exists(self, place: Place) -> bool:
        """Returns whether a step can be there: no sequence is too long, and every activated expert has a row."""
        if self.kind == EXPERTS:
            return place[0] >= place[1]
        return self.kind != PREFILL or sum(place) <= self.length

    def at(self, place: Place) -> Operator:
        """Returns the operator at one point."""
        first = ONE * place[0]
        match self.operator:
            case Gemm():
                return replace(self.operator, m=first)
            case Experts():
                held = place[1]
                return replace(self.operator, rows=first, experts=held, local_experts=held, top_k=1)
            case PrefillAttention() | LatentPrefill():
                return replace(self.operator, chunk=first, kv_before=ONE * place[1])
            case DecodeAttention() | LatentDecode():
                return replace(self.operator, batch=first, kv_mean=np.full(1, float(place[1])))
            case Collective() | Transfer():
                return replace(self.operator, rows=first, bytes_per_row=1.0)
            case Memory():
                return replace(self.operator, rows=first)
        raise TypeError(type(self.operator).__name__)

    def least_seconds(self, place: Place, device: Device) -> float:
        """Returns the roofline of a point: by it points are put in order, and dear ones foreseen."""
        operator = self.at(place)
        least = bound(operator, device)
        return float(bytes_of(operator) / device.memory_bandwidth_bytes_per_s if least is None else least[0])


def bytes_of(operator: Operator) -> float:
    """Returns the bytes that an operator of one point moves."""
    return float(operator.bytes[0])  # type: ignore[attr-defined]


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


def row_of(key: Key, place: Place) -> dict[str, object]:
    """Returns the columns of a profile that say what was measured and where."""
    kind = str(key[0])
    extents = dict(zip(EXTENTS[kind], (float(each) for each in place), strict=True))
    return {"operator": kind, **dict(zip(KEYS[kind], key[1:], strict=True)), **extents}
