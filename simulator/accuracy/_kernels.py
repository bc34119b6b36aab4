"""Public tables of kernel times as operators and seconds: Vidur's, vLLM's and NCCL's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from simulator import catalog
from simulator.optime.attended import DecodeAttention, PrefillAttention
from simulator.optime.operators import (
    AllGather,
    AllReduce,
    AllToAll,
    Collective,
    Experts,
    Floats,
    Gemm,
    Ints,
    Memory,
    Operator,
    Transfer,
)
from simulator.spec.device import Device, Link
from simulator.spec.model import Model

ITEM = 2
VIDUR_DEVICES = {"a100": "A100-80G-SXM", "a40": "A40", "h100": "H100-SXM"}
KERNEL_DEVICES = {"RTX4090": "RTX-4090", "RTXPRO6000": "RTX-PRO-6000"}
NCCL_DEVICES = {"H100-SXM-80GB": "H100-SXM", "H200-SXM-141GB": "H200-SXM"}
NCCL_KINDS: dict[str, type[Collective | Transfer]] = {
    "all_reduce": AllReduce,
    "all_gather": AllGather,
    "alltoall": AllToAll,
    "sendrecv": Transfer,
}
# Vidur's pairwise nodes are of PCIe cards with NVLink bridges; the DGX ones are as in the catalog.
PAIR = 2
# Experts that are activated by tokens choosing at random; a table's points within 2^(1/4) of that are taken.
NEAR = 0.25


@dataclass(frozen=True, eq=False)
class Priced:
    """An operator at the measured points, and the device that it ran on."""

    operator: Operator
    device: Device


class Timed(NamedTuple):
    """Measured points: the set, the model or node, the device's name, what ran, its seconds, and the parallelism."""

    part: str
    model: str
    device: str
    priced: Priced
    seconds: Floats
    parallel: str


def _known(name: str) -> Device | None:
    return catalog.device(name) if name in catalog.names("devices") else None


def vidur(folder: Path) -> Iterator[Timed]:
    """Yields Vidur's layers and its collectives."""
    for path in sorted(folder.glob("compute/*/*/*/mlp.csv.gz")):
        name = VIDUR_DEVICES[path.parts[-4]]
        device = _known(name)
        if device is not None:
            yield from _layers(path, name, device)
    for path in sorted(folder.glob("network/*/*.csv.gz")):
        name = VIDUR_DEVICES[path.parts[-2].split("_")[0]]
        device = _known(name)
        if device is not None:
            yield from _network(path, name, device)


def _layers(path: Path, name: str, device: Device) -> Iterator[Timed]:
    table = pd.read_csv(path)
    for tensor, rows in table.groupby("num_tensor_parallel_workers"):
        for operator in _layer_operators(rows, int(str(tensor))):
            column = f"time_stats.{operator.name}.median"
            if column not in rows:
                continue
            seconds = rows[column].to_numpy(dtype=np.float64) * 1e-3
            kept = seconds > 0
            if kept.any():
                extent: dict[str, Any] = {"m" if isinstance(operator, Gemm) else "rows": operator.tokens[kept]}
                priced = Priced(replace(operator, **extent), device)
                yield Timed("vidur", "/".join(path.parts[-3:-1]), name, priced, seconds[kept], f"TP{tensor}")


def _layer_operators(rows: pd.DataFrame, tensor: int) -> list[Operator]:
    shape = rows.iloc[0]
    tokens = rows.num_tokens.to_numpy(dtype=np.int64)
    heads, kv_heads, width, inner = (int(shape[c]) for c in ("n_head", "n_kv_head", "n_embd", "n_expanded_embd"))
    dim, gates = width // heads, 2 if shape["use_gated_mlp"] else 1
    query, kv, part = heads // tensor * dim, max(1, kv_heads // tensor) * dim, inner // tensor
    return [
        Memory("emb", tokens, 2 * width * ITEM),
        Memory("input_layernorm", tokens, 2 * width * ITEM),
        Gemm("attn_pre_proj", tokens, query + 2 * kv, width, "float16"),
        Memory("attn_rope", tokens, 2 * (query + kv) * ITEM),
        Gemm("attn_post_proj", tokens, width, query, "float16"),
        Memory("post_attention_layernorm", tokens, 2 * width * ITEM),
        Gemm("mlp_up_proj", tokens, gates * part, width, "float16"),
        Memory("mlp_act", tokens, (gates + 1) * part * ITEM),
        Gemm("mlp_down_proj", tokens, width, part, "float16"),
        Memory("add", tokens, 3 * width * ITEM),
    ]


def _network(path: Path, name: str, device: Device) -> Iterator[Timed]:
    node, kind = path.parts[-2], path.name.split(".")[0]
    table = pd.read_csv(path)
    table = table[(table["rank"] == 0) & (table["size"] > 0)]
    for key, rows in table.groupby(["num_workers", "devices_per_node"]):
        gpus, local = (int(str(part)) for part in key)
        placed = device.model_copy(update={"link": _link(device.link, local, "pairwise" in node)})
        size = rows["size"].to_numpy(dtype=np.int64)
        operator = Transfer(kind, size, 1, gpus) if kind == "send_recv" else AllReduce(kind, size, 1, gpus)
        seconds = rows[f"time_stats.{kind}.median"].to_numpy(dtype=np.float64) * 1e-3
        yield Timed("vidur", node, name, Priced(operator, placed), seconds, f"{gpus} GPUs, {local} a node")


def _link(link: Link, local: int, paired: bool) -> Link:
    """Returns the links among workers of which so many lie on one node."""
    island = PAIR if paired else link.nvlink_island
    return link.model_copy(update={"nvlink_island": min(island, local), "gpus_per_node": local})


def vllm(folder: Path) -> Iterator[Timed]:
    """Yields kernels inside vLLM 0.19.0: GEMMs, attention of prefills and of decodes alone, experts, and what moves bytes."""
    for meta in sorted(folder.glob("*/*/*/bf16/meta.yaml")):
        name, model_name = KERNEL_DEVICES[meta.parts[-5]], "/".join(meta.parts[-4:-2])
        device = _known(name)
        if device is None or model_name not in catalog.names("models"):
            continue
        for part in sorted(meta.parent.glob("tp*")):
            for operator, seconds in _vllm_operators(part, catalog.model(model_name), int(part.name[2:])):
                yield Timed("vllm", model_name, name, Priced(operator, device), _seconds(seconds), part.name.upper())


def _vllm_operators(folder: Path, model: Model, tensor: int) -> Iterator[tuple[Operator, pd.Series[float]]]:
    heads, kv_heads = model.num_attention_heads // tensor, max(1, model.num_key_value_heads // tensor)
    query, kv, part, hidden = (
        heads * model.head_dim,
        kv_heads * model.head_dim,
        model.intermediate_size // tensor,
        model.hidden_size,
    )
    rotated, vocabulary = 2 * (query + kv) * ITEM, -(-model.vocab_size // tensor)
    gemms = {"qkv_proj": (query + 2 * kv, hidden), "o_proj": (hidden, query), "gate_up_proj": (2 * part, hidden)}
    gemms |= {"down_proj": (hidden, part), "lm_head": (vocabulary, hidden)}
    moved = {"embedding": 2 * hidden * ITEM, "layernorm": 4 * hidden * ITEM, "final_layernorm": 4 * hidden * ITEM}
    moved |= {"qk_norm": rotated, "rotary_emb": rotated, "act_fn": 3 * part * ITEM}
    for file, extent in (("dense", "tokens"), ("per_sequence", "sequences")):
        for name, rows in pd.read_csv(folder / f"{file}.csv.gz").groupby("layer"):
            layer, tokens = str(name), rows[extent].to_numpy(dtype=np.int64)
            if layer in gemms:
                yield Gemm(layer, tokens, *gemms[layer], "bfloat16"), rows.time_us
            elif layer in moved:
                yield Memory(layer, tokens, moved[layer]), rows.time_us
    yield from _attention(pd.read_csv(folder / "attention.csv.gz"), heads, kv_heads, model.head_dim)
    if (folder / "moe.csv.gz").exists():
        yield _experts(pd.read_csv(folder / "moe.csv.gz"), model, tensor)


def _attention(table: pd.DataFrame, heads: int, kv_heads: int, dim: int) -> Iterator[tuple[Operator, pd.Series[float]]]:
    rows = table[(table.prefill_chunk == 0) & (table.n_decode > 0)]
    kv = rows.kv_decode.to_numpy(dtype=np.float64)
    yield DecodeAttention("decode", _whole(rows.n_decode), kv, heads, kv_heads, dim, "bfloat16"), rows.time_us
    rows = table[(table.prefill_chunk > 0) & (table.n_decode == 0)]
    shape = (heads, kv_heads, dim, "bfloat16")
    yield PrefillAttention("prefill", _whole(rows.prefill_chunk), _whole(rows.kv_prefill), *shape), rows.time_us  # type: ignore[arg-type]


def _whole(column: pd.Series[int]) -> Ints:
    return np.asarray(column, dtype=np.int64)


def _seconds(microseconds: pd.Series[float]) -> Floats:
    return np.asarray(microseconds, dtype=np.float64) * 1e-6


def _experts(table: pd.DataFrame, model: Model, tensor: int) -> tuple[Operator, pd.Series[float]]:
    every, top = model.num_local_experts or 1, model.num_experts_per_tok or 1
    expected = every * (1.0 - (1.0 - top / every) ** table.tokens)
    rows = table[np.abs(np.log2(table.activated_experts / expected)) < NEAR]
    width = (model.moe_intermediate_size or model.intermediate_size) // tensor
    return Experts("experts", _whole(rows.tokens), model.hidden_size, width, every, every, top, "bfloat16"), rows.time_us


def nccl(folder: Path) -> Iterator[Timed]:
    """Yields NCCL's collectives within a node."""
    for path in sorted(folder.glob("*/*.csv")):
        kind, name = NCCL_KINDS.get(path.stem), NCCL_DEVICES[path.parts[-2]]
        device = _known(name)
        if kind is None or device is None:
            continue
        table = pd.read_csv(path)
        table = table[(table["size(kb)"] > 0) & (table.num_nodes == 1)]
        for gpus, rows in table.groupby("num_gpus_per_node"):
            operator = kind(path.stem, _whole(rows["size(kb)"]), 1024.0, int(str(gpus)))
            seconds = rows["time(us)"].to_numpy(dtype=np.float64) * 1e-6
            yield Timed("nccl", "nccl", name, Priced(operator, device), seconds, f"{gpus} GPUs")
