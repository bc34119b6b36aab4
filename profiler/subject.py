"""One thing to measure: an operator of one shape, as the class `Subject`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from profiler.sample import Place
from simulator.optime.attended import DecodeAttention, LatentDecode, LatentPrefill, PrefillAttention
from simulator.optime.bound import bound
from simulator.optime.families import Shard
from simulator.optime.operators import Collective, Experts, Gemm, Memory, Operator, Transfer
from simulator.optime.shapes import EXPERTS, EXTENTS, KEYS, PREFILL, Key, key_of
from simulator.spec.device import Device

ONE = np.ones(1, dtype=np.int64)


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


def row_of(key: Key, place: Place) -> dict[str, object]:
    """Returns the columns of a profile that say what was measured and where."""
    kind = str(key[0])
    extents = dict(zip(EXTENTS[kind], (float(each) for each in place), strict=True))
    return {"operator": kind, **dict(zip(KEYS[kind], key[1:], strict=True)), **extents}
