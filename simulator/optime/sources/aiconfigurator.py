"""AIConfigurator: NVIDIA's measured kernel times of vLLM, from the tables of the package `aiconfigurator-core`.

GEMMs, attention and collectives are interpolated in their ratio to the roofline, by logarithm, between the nearest
measured shapes. Kernels that only move bytes are not in the tables: the package allows them a share of the bandwidth and a
constant latency, and so does this source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np

from simulator.errors import InputError
from simulator.optime.bound import bound
from simulator.optime.grids import across, along, at_least, filled, kinds_of, locate
from simulator.optime.operators import (
    AllReduce,
    Collective,
    DecodeAttention,
    Floats,
    Gemm,
    Ints,
    Memory,
    Operator,
    PrefillAttention,
)
from simulator.optime.provenance import EXTRAPOLATED, INTERPOLATED, ROOFLINE, KindCodes, Priced
from simulator.optime.sources import Context
from simulator.optime.sources import _aiconfigurator_tables as tables
from simulator.optime.sources._aiconfigurator_tables import Table
from simulator.spec.base import Spec
from simulator.spec.device import Device, Dtype

DEFAULT_RANK = 50
COLLECTIVE_ITEM_BYTES = 2


class Settings(Spec):
    """Nothing to set."""

    source: Literal["aiconfigurator"] = "aiconfigurator"


@dataclass(frozen=True, eq=False)
class AIConfigurator:
    """The tables of one device; an operator without a table goes to the next source."""

    system: str
    device: Device

    def price(self, operator: Operator) -> Priced | None:
        """Returns the seconds of every point, none faster than the roofline; None without a table for the operator."""
        if isinstance(operator, Memory):
            return self._memory(operator)
        table = _table(self.system, operator)
        least = bound(operator, self.device)
        if table is None or least is None:
            return None
        if isinstance(operator, Gemm):
            return _gemm(operator, table, least, self.device)
        if isinstance(operator, PrefillAttention):
            return _prefill(operator, table, least, self.device)
        if isinstance(operator, DecodeAttention):
            return _decode(operator, table, least, self.device)
        assert isinstance(operator, Collective), "no other operator has a table"
        return _collective(operator, table, least)

    def _memory(self, operator: Memory) -> Priced:
        share, latency_s = tables.memory_kernel(self.system)
        return Priced.of(operator.bytes / (share * self.device.memory_bandwidth_bytes_per_s) + latency_s, ROOFLINE)

    def versions(self, operator: Operator) -> Mapping[str, str]:
        """Returns the package's version and that of vLLM or NCCL in the operator's table."""
        table = None if isinstance(operator, Memory) else _table(self.system, operator)
        package = {tables.PACKAGE: tables.VERSION}
        return package if table is None else {**package, table.software: table.version}

    def token_knots(self) -> Ints:
        """Returns the row counts at which GEMMs were measured: around tile boundaries among others."""
        table = _gemm_table(self.system, "bfloat16")
        return np.empty(0, dtype=np.int64) if table is None else np.unique(table.columns["m"])


def available(context: Context) -> bool:
    """Returns whether the package is installed, in its pinned version, with tables of the deployment's device."""
    system = tables.SYSTEMS.get(context.deployment.device)
    return system is not None and tables.systems_folder() is not None and _gemm_table(system, "bfloat16") is not None


def open_source(settings: Settings, context: Context, field: str) -> AIConfigurator:
    """Returns the tables of the deployment's device; raises InputError without the package or the device."""
    if tables.systems_folder() is None:
        found = tables.installed_version() or "none"
        needed = f"a source that is installed: pip install {tables.PACKAGE}=={tables.VERSION} (found {found})"
        raise InputError(f"{field}.source", settings.source, needed)
    if not available(context):
        devices = ", ".join(sorted(tables.SYSTEMS))
        raise InputError(f"{field}.source", settings.source, f"this source with one of its devices: {devices}")
    return AIConfigurator(tables.SYSTEMS[context.deployment.device], context.device)


# Tables


def _gemm_table(system: str, dtype: Dtype) -> Table | None:
    # The tables have one 16-bit type; the other one has the same width and the same peak rate.
    measured = "bfloat16" if dtype == "float16" else dtype
    return tables.read(system, "gemm", "vllm", "gemm", ("n", "k", "m"), gemm_dtype=measured)


def _attention_table(system: str, operator: PrefillAttention | DecodeAttention) -> Table | None:
    if operator.dtype not in ("bfloat16", "float16"):
        return None
    heads = ("num_heads", "num_key_value_heads", "head_dim")
    plain = {"attn_dtype": "bfloat16", "kv_cache_dtype": "bfloat16", "window_size": 0}
    if isinstance(operator, DecodeAttention):
        return tables.read(system, "attention", "vllm", "generation_attention", (*heads, "batch_size", "step"), **plain)
    return tables.read(system, "attention", "vllm", "context_attention", (*heads, "isl"), batch_size=1, step=0, **plain)


def _collective_table(system: str, operator: Collective) -> Table | None:
    columns = ("num_gpus", "message_size")
    if isinstance(operator, AllReduce):
        backend = "vllm_graph" if operator.captured else "vllm_eager"
        custom = tables.read(system, "comm", "vllm", "custom_allreduce", columns, backend=backend)
        if custom is not None and operator.gpus in custom.columns["num_gpus"]:
            return custom
    name = "all_reduce" if isinstance(operator, AllReduce) else "all_gather"
    nccl = tables.read(system, "comm", "nccl", "nccl", columns, op_name=name, nccl_dtype="half")
    return nccl if nccl is not None and operator.gpus in nccl.columns["num_gpus"] else None


def _table(system: str, operator: Operator) -> Table | None:
    if isinstance(operator, Gemm):
        return _gemm_table(system, operator.dtype)
    if isinstance(operator, PrefillAttention | DecodeAttention):
        return _attention_table(system, operator)
    return _collective_table(system, operator) if isinstance(operator, Collective) else None


# Interpolation


@cache
def _gemm_curves(table: Table) -> tuple[Ints, Ints, dict[tuple[int, int], tuple[Ints, Floats]]]:
    """Returns the measured n, the measured k, and by (n, k) the rising m with their seconds."""
    n, k, m = table.columns["n"], table.columns["k"], table.columns["m"]
    starts = np.flatnonzero(np.diff(n, prepend=-1) | np.diff(k, prepend=-1))
    ends = np.append(starts[1:], len(m))
    curves = {(int(n[a]), int(k[a])): (m[a:b], table.seconds[a:b]) for a, b in zip(starts, ends, strict=True)}
    return np.unique(n), np.unique(k), curves


def _gemm(operator: Gemm, table: Table, least: Floats, device: Device) -> Priced | None:
    lines_n, lines_k, curves = _gemm_curves(table)
    at_n, at_k = locate(lines_n, np.array([operator.n])), locate(lines_k, np.array([operator.k]))
    log_ratio, total = np.zeros(operator.m.shape), 0.0
    kinds = kinds_of(at_n, at_k)
    for i, weight_n in ((at_n.low[0], 1 - at_n.weight[0]), (at_n.high[0], at_n.weight[0])):
        for j, weight_k in ((at_k.low[0], 1 - at_k.weight[0]), (at_k.high[0], at_k.weight[0])):
            weight = float(weight_n * weight_k)
            corner = (int(lines_n[i]), int(lines_k[j]))
            if weight == 0:
                continue
            if corner not in curves:
                # The largest weights are not measured on every device; the other corners stand in for them.
                kinds = np.full_like(kinds, EXTRAPOLATED)
                continue
            lines_m, seconds = curves[corner]
            corner_least = bound(replace(operator, m=lines_m, n=corner[0], k=corner[1]), device)
            assert corner_least is not None, "the operator itself has a bound"
            at_m = locate(lines_m, operator.m)
            kinds = np.maximum(kinds, kinds_of(at_m))
            log_ratio += weight * along(at_m, np.log(seconds / corner_least))
            total += weight
    if total == 0:
        return None
    return at_least(least * np.exp(log_ratio / total), least, _for_dtype(kinds, operator.dtype))


@cache
def _head_rows(table: Table, heads: int, kv_heads: int, head_dim: int) -> tuple[Table, int, int, int]:
    """Returns the rows of the measured head counts nearest to these, and those counts: head size, ratio, then size."""
    triples = np.unique(np.column_stack([table.columns[c] for c in ("num_heads", "num_key_value_heads", "head_dim")]), axis=0)

    def distance(triple: Ints) -> tuple[float, float, float]:
        ratio = abs(np.log((triple[0] / triple[1]) / (heads / kv_heads)))
        return abs(np.log(triple[2] / head_dim)), round(float(ratio), 9), abs(np.log(triple[1] / kv_heads))

    h, kv, dim = (int(value) for value in min(triples, key=distance))
    return table.where(num_heads=h, num_key_value_heads=kv, head_dim=dim), h, kv, dim


def _prefill(operator: PrefillAttention, table: Table, least: Floats, device: Device) -> Priced:
    """Returns the work's share of a whole prompt: t(chunk, kv) = t(kv + chunk) ((kv + chunk)^2 - kv^2) / (kv + chunk)^2.

    The tables have no cached prefix. A chunk is never faster than alone, without the KV before it.
    """
    rows, heads, kv_heads, dim = _head_rows(table, operator.heads, operator.kv_heads, operator.head_dim)
    lines = rows.columns["isl"]
    measured = PrefillAttention("", lines, np.zeros_like(lines), heads, kv_heads, dim, operator.dtype)
    measured_least = bound(measured, device)
    assert measured_least is not None, "the operator itself has a bound"
    log_ratio = np.log(rows.seconds / measured_least)

    def whole(length: Ints) -> Floats:
        prompt = bound(replace(operator, chunk=length, kv_before=np.zeros_like(length)), device)
        assert prompt is not None, "the operator itself has a bound"
        return prompt * np.exp(along(locate(lines, length), log_ratio))

    length = operator.kv_before + operator.chunk
    share = 1.0 - (operator.kv_before / length) ** 2
    seconds = np.maximum(whole(length) * share, whole(operator.chunk))
    alone = (operator.kv_before == 0) & _same(operator, heads, kv_heads, dim)
    kinds = np.where(alone, kinds_of(locate(lines, length)), EXTRAPOLATED).astype(np.int8)
    return at_least(seconds, least, _for_dtype(kinds, operator.dtype))


def _decode(operator: DecodeAttention, table: Table, least: Floats, device: Device) -> Priced:
    """Returns times over batch and KV; where the KV heads differ from the measured ones, batch x KV heads counts.

    The kernel's blocks are spread over sequences and KV heads alike.
    """
    rows, heads, kv_heads, dim = _head_rows(table, operator.heads, operator.kv_heads, operator.head_dim)
    batches, at_row = np.unique(rows.columns["batch_size"], return_inverse=True)
    lengths, at_column = np.unique(rows.columns["step"] + 1, return_inverse=True)
    batch, kv = rows.columns["batch_size"], rows.columns["step"].astype(np.float64) + 1
    measured_least = bound(DecodeAttention("", batch, kv, heads, kv_heads, dim, operator.dtype), device)
    assert measured_least is not None, "the operator itself has a bound"
    log_ratio = np.full((len(batches), len(lengths)), np.nan)
    log_ratio[at_row, at_column] = np.log(rows.seconds / measured_least)
    table_ratio, gaps = filled(log_ratio)
    at_batch = locate(batches, operator.batch.astype(np.float64) * (operator.kv_heads / kv_heads))
    at_kv = locate(lengths, operator.kv_mean)
    seconds = least * np.exp(across(at_batch, at_kv, table_ratio))
    kinds = np.where(gaps[at_batch.high, at_kv.high], EXTRAPOLATED, kinds_of(at_batch, at_kv))
    if not _same(operator, heads, kv_heads, dim):
        kinds = np.full(kinds.shape, EXTRAPOLATED)
    return at_least(seconds, least, _for_dtype(kinds.astype(np.int8), operator.dtype))


def _collective(operator: Collective, table: Table, least: Floats) -> Priced:
    """Returns times over the message size, which the tables give in 16-bit elements."""
    rows = table.where(num_gpus=operator.gpus)
    sizes = rows.columns["message_size"].astype(np.float64) * COLLECTIVE_ITEM_BYTES
    axis = locate(sizes, operator.bytes)
    seconds = operator.bytes * np.exp(along(axis, np.log(rows.seconds / sizes)))
    return at_least(seconds, least, kinds_of(axis))


def _same(operator: PrefillAttention | DecodeAttention, heads: int, kv_heads: int, head_dim: int) -> bool:
    return (operator.heads, operator.kv_heads, operator.head_dim) == (heads, kv_heads, head_dim)


def _for_dtype(kinds: KindCodes, dtype: Dtype) -> KindCodes:
    return np.maximum(kinds, INTERPOLATED) if dtype == "float16" else kinds
