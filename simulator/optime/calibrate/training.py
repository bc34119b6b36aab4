"""The training set: kernel times of vLLM and NCCL in the installed package `aiconfigurator-core`, as operators and seconds.

Nothing else may be added here that the roofline is scored on, and no run of a whole engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
import yaml

from simulator.errors import InputError
from simulator.optime.attended import DecodeAttention, LatentDecode, PrefillAttention
from simulator.optime.operators import AllGather, AllReduce, AllToAll, Collective, Experts, Floats, Gemm, Memory, Operator
from simulator.optime.sources._aiconfigurator_tables import PACKAGE, VERSION, systems_folder
from simulator.spec.device import Device, Dtype, Link

# SMs are not in the package: NVIDIA's data sheets, as in the catalog of devices. L2 caches likewise (bytes).
SMS = {"a100_sxm": 108, "h100_sxm": 132, "h200_sxm": 132, "b200_sxm": 148, "l40s": 142, "rtx_pro_6000_server": 188}
L2_BYTES = {"a100_sxm": 40e6, "h100_sxm": 50e6, "h200_sxm": 50e6, "b200_sxm": 126e6, "l40s": 96e6, "rtx_pro_6000_server": 128e6}
ARCHITECTURES = {"a100": "ampere", "h100": "hopper", "h200": "hopper", "b200": "blackwell", "l40s": "ada", "rtx": "blackwell"}
NVLINK = ("a100_sxm", "h100_sxm", "h200_sxm", "b200_sxm")
# Below this a kernel's latency decides, wherever its bytes come from; above it, bytes in the L2 cache would mislead.
SMALL_BYTES = 2e6
TINY_BYTES = 3e5
ROWS = 3000
DTYPES: dict[str, Dtype] = {"bfloat16": "bfloat16", "fp8": "fp8", "nvfp4": "nvfp4"}


@dataclass(frozen=True, eq=False)
class Sample:
    """Points of one kind on one system: an operator whose fields are arrays, one element a point, and their seconds."""

    system: str
    device: Device
    operator: Operator
    seconds: Floats


def device(system: str) -> Device:
    """Returns the system as the package describes it."""
    folder = systems_folder()
    if folder is None:
        raise InputError("training set", "none", f"an installation: pip install {PACKAGE}=={VERSION}")
    spec = yaml.safe_load((folder / f"{system}.yaml").read_text(encoding="utf-8"))
    gpu, node = spec["gpu"], spec["node"]
    names: dict[Dtype, str] = {"bfloat16": "bfloat16", "float16": "bfloat16", "fp8": "fp8", "nvfp4": "fp4"}
    peaks: dict[Dtype, float] = {d: float(gpu[f"{n}_tc_flops"]) for d, n in names.items() if f"{n}_tc_flops" in gpu}
    island = int(node["num_gpus_per_node"])
    link = Link(
        nvlink_bytes_per_s=float(node["intra_node_bw"]) if system in NVLINK else None,
        nvlink_island=island if system in NVLINK else 1,
        pcie_bytes_per_s=float(node["pcie_bw"]),
        gpus_per_node=island,
        internode_bytes_per_s=float(node["inter_node_bw"]),
    )
    return Device(
        vendor="nvidia",
        architecture=ARCHITECTURES[system.split("_")[0]],
        memory_bytes=int(gpu["mem_capacity"]),
        memory_bandwidth_bytes_per_s=float(gpu["mem_bw"]),
        peak_flops_per_s=peaks,
        sm_count=SMS[system],
        link=link,
        sources={"all": f"{PACKAGE} {VERSION}, systems/{system}.yaml"},
    )


def table(system: str, family: str, software: str, name: str, **equal: object) -> pd.DataFrame:
    """Returns the newest version's rows in which the columns of `equal` have those values; empty where there is no table.

    A table without such a column has every row: what did not vary is left out of older ones.
    """
    folder = systems_folder()
    assert folder is not None, "device() has found it"
    paths = (folder / "data" / system / family / software).glob(f"*/{name}_perf.parquet")
    path = max(paths, key=lambda p: tuple(int(part) for part in p.parent.name.split(".")), default=None)
    if path is None:
        return pd.DataFrame()
    rows = pd.read_parquet(path)
    for column, value in equal.items():
        if column in rows:
            rows = rows[rows[column] == value]
    return rows


def _sample(system: str, taken: pd.DataFrame, operator: type[Operator], /, **fields: Any) -> Iterator[Sample]:
    if len(taken) == 0:
        return
    if len(taken) > ROWS:
        chosen = np.random.default_rng(0).permutation(len(taken))[:ROWS]
        taken = taken.iloc[chosen]
    values = {
        name: taken[value].to_numpy() if isinstance(value, str) and value in taken else value for name, value in fields.items()
    }
    made = cast(Any, operator)("training", **{name: v(taken) if callable(v) else v for name, v in values.items()})
    yield Sample(system, device(system), made, taken["latency"].to_numpy(dtype=np.float64) * 1e-3)


def _outside_cache(system: str, rows: pd.DataFrame, moved: pd.Series[float]) -> pd.DataFrame:
    """Returns the rows whose bytes do not fit the L2 cache, in which repeated runs find them, or hardly matter."""
    return rows[(moved > L2_BYTES[system]) | (moved < SMALL_BYTES)]


def gemms(system: str, dtype: Dtype) -> Iterator[Sample]:
    """Yields GEMMs of one data type with weights of 256 rows and columns or more."""
    rows = table(system, "gemm", "vllm", "gemm", gemm_dtype=dtype)
    if len(rows) == 0:
        return
    rows = rows[(rows.n >= 256) & (rows.k >= 256)]
    item = {"bfloat16": 2.0, "fp8": 1.0}.get(dtype, 0.5)
    rows = _outside_cache(system, rows, item * (rows.m * rows.k + rows.k * rows.n) + 2.0 * rows.m * rows.n)
    yield from _sample(system, rows, Gemm, m="m", n="n", k="k", dtype=dtype)


ATTENTION = {"attn_dtype": "bfloat16", "kv_cache_dtype": "bfloat16", "window_size": 0}
HEADS = {"heads": "num_heads", "kv_heads": "num_key_value_heads", "head_dim": "head_dim", "dtype": "bfloat16"}


def prefills(system: str) -> Iterator[Sample]:
    """Yields attention of single prompts without cached tokens."""
    rows = table(system, "attention", "vllm", "context_attention", batch_size=1, step=0, **ATTENTION)
    rows = rows[rows.head_dim.isin([64, 128, 256]) & (rows.isl >= 16)]
    yield from _sample(system, rows, PrefillAttention, chunk="isl", kv_before=lambda r: np.zeros(len(r), dtype=np.int64), **HEADS)


def decodes(system: str) -> Iterator[Sample]:
    """Yields attention of decodes of equal KV."""
    rows = table(system, "attention", "vllm", "generation_attention", **ATTENTION)
    rows = rows[rows.head_dim.isin([64, 128, 256])]
    moved = 4.0 * rows.head_dim * rows.batch_size * (rows.step + 1.0) * rows.num_key_value_heads
    rows = _outside_cache(system, rows, moved)
    yield from _sample(system, rows, DecodeAttention, batch="batch_size", kv_mean=lambda r: r.step.to_numpy() + 1.0, **HEADS)


# DeepSeek-V3's latent: 512 compressed numbers and 64 rotary ones.
LATENT, ROTARY = 512, 64


def latent_decodes(system: str) -> Iterator[tuple[Sample, Sample]]:
    """Yields pairs of samples, whose difference is attention alone: the tables time a whole module with its projections."""
    same = {"kv_cache_dtype": "bfloat16", "gemm_type": "bfloat16", "mla_dtype": "bfloat16"}
    rows = table(system, "mla", "vllm", "mla_generation_module", **same)
    if len(rows) == 0:
        return
    rows = rows.groupby(["num_heads", "batch_size", "step"], as_index=False)[["latency"]].mean()
    least = rows.sort_values("step").groupby(["num_heads", "batch_size"], as_index=False).first()
    both = rows.merge(least, on=["num_heads", "batch_size"], suffixes=("", "_least"))
    both = both[(both.latency > 1.3 * both.latency_least) & (both.step > 4 * both.step_least)]
    shape = {"batch": "batch_size", "heads": "num_heads", "latent_dim": LATENT + ROTARY, "v_dim": LATENT, "dtype": "bfloat16"}
    short = both.assign(step=both.step_least, latency=both.latency_least)
    long = list(_sample(system, both, LatentDecode, kv_mean=lambda r: r.step.to_numpy() + 1.0, **shape))
    yield from zip(long, _sample(system, short, LatentDecode, kv_mean=lambda r: r.step.to_numpy() + 1.0, **shape), strict=True)


def experts(system: str, dtype: Dtype, load: str = "balanced", shared: bool = False) -> Iterator[Sample]:
    """Yields experts that lie on one GPU, or with `shared` on several; `load` names the distribution of tokens over them."""
    rows = table(system, "moe", "vllm", "moe", moe_dtype=dtype)
    if len(rows) and load not in set(rows.distribution) and not shared:
        # Where a balanced load was not measured, on one GPU the mildest skew stands for it.
        rows = rows[rows.distribution == rows.distribution.min()]
    elif len(rows):
        rows = rows[rows.distribution == load]
    if len(rows) == 0:
        return
    rows = rows[(rows.moe_ep_size > 1) == shared]
    fields: dict[str, Any] = {"rows": "num_tokens", "hidden_size": "hidden_size", "experts": "num_experts", "top_k": "topk"}
    fields |= {"intermediate_size": lambda r: (r.inter_size // r.moe_tp_size).to_numpy()}
    fields |= {"local_experts": lambda r: (r.num_experts // r.moe_ep_size).to_numpy(), "dtype": dtype, "load": load}
    yield from _sample(system, rows, Experts, **fields)


def memory_kernels(system: str) -> Iterator[Sample]:
    """Yields the only kernels there that just move bytes: a 16-bit matrix read and written in 8 bits, with a known scale."""
    rows = table(system, "quantize", "vllm", "scale_matrix")
    if len(rows) == 0:
        return
    rows = rows[(rows.k <= 16384) & (rows.k >= 1024)]
    # What is written stays in the cache as well: only the largest matrices leave it, and only the least do not matter.
    moved = 3.0 * rows.m * rows.k
    rows = rows.loc[(moved > 4 * L2_BYTES[system]) | (moved < TINY_BYTES)]
    yield from _sample(system, rows, Memory, rows=lambda r: (r.m * r.k).to_numpy(), bytes_per_row=3.0)


COLLECTIVES: dict[str, type[Collective]] = {"all_reduce": AllReduce, "all_gather": AllGather, "alltoall": AllToAll}


def collectives(system: str, gpus: int) -> Iterator[Sample]:
    """Yields NCCL's exchanges, and last the engine's own all-reduce in a CUDA graph."""
    for name, kind in COLLECTIVES.items():
        rows = table(system, "comm", "nccl", "nccl", op_name=name, nccl_dtype="half", num_gpus=gpus)
        yield from _sample(system, rows, kind, rows="message_size", bytes_per_row=2.0, gpus=gpus)
    rows = table(system, "comm", "vllm", "custom_allreduce", backend="vllm_graph", num_gpus=gpus)
    yield from _sample(system, rows, AllReduce, rows="message_size", bytes_per_row=2.0, gpus=gpus, captured=True)
