"""AIConfigurator: NVIDIA's measured kernel times of vLLM, SGLang and TensorRT-LLM, from the package `aiconfigurator-core`.

GEMMs, experts, attention and collectives are interpolated in their ratio to the roofline, by logarithm, between the
nearest measured shapes. Kernels that only move bytes are not in the tables: the package allows them a share of the bandwidth
and a constant latency, and transfers between two GPUs a latency beside the link's rate, and so does this source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from simulator import catalog
from simulator.errors import InputError
from simulator.optime.attended import DecodeAttention, LatentDecode, LatentPrefill, PrefillAttention
from simulator.optime.bound import bound
from simulator.optime.operators import Collective, Experts, Gemm, Ints, Memory, Operator, Transfer
from simulator.optime.provenance import INTERPOLATED, ROOFLINE, Priced
from simulator.optime.sources import Context
from simulator.optime.sources import _aiconfigurator_attention as attention
from simulator.optime.sources import _aiconfigurator_collectives as collectives
from simulator.optime.sources import _aiconfigurator_experts as experts
from simulator.optime.sources import _aiconfigurator_gemm as gemm
from simulator.optime.sources import _aiconfigurator_tables as tables
from simulator.optime.sources._aiconfigurator_tables import Place, Table
from simulator.spec.base import Spec
from simulator.spec.device import Device

DEFAULT_RANK = 50


class Settings(Spec):
    """Nothing to set."""

    source: Literal["aiconfigurator"] = "aiconfigurator"


@dataclass(frozen=True, eq=False)
class AIConfigurator:
    """The tables of one device and engine; an operator without a table goes to the next source.

    `block_scaled`: fp8 weights are scaled by blocks, as published models' are, and inputs as they come; else both have the
    scales of a calibration, one a tensor. `within`: kernels that only move bytes and are part of others that were measured.
    """

    place: Place
    device: Device
    block_scaled: bool = False
    within: frozenset[str] = frozenset()

    def price(self, operator: Operator) -> Priced | None:
        """Returns the seconds of every point, none faster than the roofline; None without a table for the operator."""
        if isinstance(operator, Memory):
            if operator.name in self.within:
                return Priced.of(np.zeros(operator.rows.shape), INTERPOLATED)
            share, latency_s = tables.memory_kernel(self.place.system)
            return Priced.of(operator.bytes / (share * self.device.memory_bandwidth_bytes_per_s) + latency_s, ROOFLINE)
        least = bound(operator, self.device)
        if isinstance(operator, Transfer):
            return None if least is None else Priced.of(least + tables.send_latency_s(self.place.system), ROOFLINE)
        if isinstance(operator, Gemm):
            rows = gemm.tables(self.place, operator, self.block_scaled)
            return (
                None
                if least is None
                else gemm.price(operator, rows, least, self.device, self.place, not self.block_scaled and operator.dtype == "fp8")
            )
        table = self._table(operator)
        if table is None or least is None:
            return None
        if isinstance(operator, Collective):
            return collectives.price(operator, table, least)
        own = operator.dtype != "float16" and table.software == self.place.software  # type: ignore[attr-defined]
        if isinstance(operator, Experts):
            return experts.price(operator, table, least, self.device, own)
        if isinstance(operator, PrefillAttention | LatentPrefill):
            return attention.prefill(operator, table, least, self.device, own)
        assert isinstance(operator, DecodeAttention | LatentDecode), "no other operator has a table"
        return attention.decode(operator, table, least, self.device, own)

    def _table(self, operator: Operator) -> Table | None:
        if isinstance(operator, Gemm):
            return next(iter(gemm.tables(self.place, operator, self.block_scaled)), None)
        if isinstance(operator, Experts):
            return experts.table(self.place, operator, self.block_scaled)
        if isinstance(operator, PrefillAttention | DecodeAttention | LatentPrefill | LatentDecode):
            return attention.table(self.place, operator)
        return collectives.table(self.place, operator) if isinstance(operator, Collective) and operator.gpus > 1 else None

    def versions(self, operator: Operator) -> Mapping[str, str]:
        """Returns the package's version and that of the engine or NCCL in the operator's table."""
        table = self._table(operator)
        package = {tables.PACKAGE: tables.VERSION}
        return package if table is None else {**package, table.software: table.version}

    def token_knots(self) -> Ints:
        """Returns the row counts at which GEMMs were measured: around tile boundaries among others."""
        table = _sixteen_bit_gemms(self.place)
        return np.empty(0, dtype=np.int64) if table is None else gemm.knots(table)


def _sixteen_bit_gemms(place: Place) -> Table | None:
    rows = gemm.tables(place, Gemm("", np.empty(0, dtype=np.int64), 1, 1, "bfloat16"), block_scaled=False)
    return rows[0] if rows else None


def _place(context: Context) -> Place | None:
    """Returns whose tables are nearest to the deployment's engine: vLLM's newest for an engine that was not measured."""
    system = tables.SYSTEMS.get(context.deployment.device)
    if system is None:
        return None
    engine = catalog.engine(context.deployment.engine, "deployment.engine")
    software = tables.SOFTWARE.get(engine.engine)
    return Place(system, "vllm", tables.NEWEST) if software is None else Place(system, software, engine.version)


def available(context: Context) -> bool:
    """Returns whether the package is installed, in its pinned version, with tables of the deployment's device."""
    place = _place(context)
    return place is not None and tables.systems_folder() is not None and _sixteen_bit_gemms(place) is not None


def open_source(settings: Settings, context: Context, field: str) -> AIConfigurator:
    """Returns the tables of the deployment's device; raises InputError without the package or the device."""
    if tables.systems_folder() is None:
        found = tables.installed_version() or "none"
        needed = f"a source that is installed: pip install {tables.PACKAGE}=={tables.VERSION} (found {found})"
        raise InputError(f"{field}.source", settings.source, needed)
    place = _place(context)
    if place is None or not available(context):
        devices = ", ".join(sorted(tables.SYSTEMS))
        raise InputError(f"{field}.source", settings.source, f"this source with one of its devices: {devices}")
    # Checkpoints of models with experts are scaled by blocks in fp8, as DeepSeek-V3's: Qwen3, GLM-5, MiniMax-M2.
    block_scaled = context.model.quantization == "fp8" or context.model.num_local_experts is not None
    return AIConfigurator(place, context.device, block_scaled, _within(context, place))


def _within(context: Context, place: Place) -> frozenset[str]:
    """Returns what TensorRT-LLM's own kernels do as well: attention rotates and caches, an all-reduce adds and norms.

    TensorRT-LLM's documents: advanced/gpt-attention (rotary embedding and KV cache in the attention operator) and
    AllReduceFusionOp.RESIDUAL_RMS_NORM.
    """
    if place.software != "trtllm":
        return frozenset()
    reduced = {"input_norm", "post_norm"} if context.deployment.tensor_parallel_size > 1 else set()
    return frozenset({"rope", "kv_write", *reduced})
