"""Kernel times measured inside vLLM, one model, one layer, in the layout of LLMServingSim's profiler (MIT).

`path` is a folder `tp<k>` with dense.csv (layer, tokens), per_sequence.csv (layer, sequences), attention.csv (prefill_chunk,
kv_prefill, n_decode, kv_decode) and, for models with experts, moe.csv (tokens, activated_experts), each with time_us and
perhaps gzipped; or a root above <device>/<organisation>/<model>/<dtype>/tp<k>, from which the deployment chooses.

Times are those of eager kernels on one GPU: collectives are absent. The KV write was timed within the attention, the
router within the experts. kv_decode leaves the new token out.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import yaml

from simulator import catalog
from simulator.errors import InputError
from simulator.optime.attended import DecodeAttention, PrefillAttention
from simulator.optime.families import Shard
from simulator.optime.operators import Experts, Operator
from simulator.optime.shapes import MIXED, MIXED_PAIRS, Key, key_of
from simulator.optime.sources import Context
from simulator.optime.sources._columns import Columns, changed, existing, folder_of, numbers, read, times
from simulator.optime.sources._vllm_attention import attention_of
from simulator.optime.tables import Table, Tables
from simulator.spec.base import Spec

DEFAULT_RANK = None
MICROSECOND = 1e-6
# Operator of a model family -> layer of the tables.
LAYERS = {
    "embedding": "embedding",
    "input_norm": "layernorm",
    "qkv_proj": "qkv_proj",
    "qk_norm": "qk_norm",
    "rope": "rotary_emb",
    "o_proj": "o_proj",
    "post_norm": "layernorm",
    "gate_up_proj": "gate_up_proj",
    "activation": "act_fn",
    "down_proj": "down_proj",
    "final_norm": "final_layernorm",
    "lm_head": "lm_head",
    "sampling": "sampler",
}
WITHIN_EXPERTS = ("router", "routing")
DTYPES = {"bfloat16": "bf16", "float16": "fp16"}


class Settings(Spec):
    """The folder of the tables; `skew` says whether the KV of a batch is taken to be as unequal as it commonly is."""

    source: Literal["vllm_kernels"] = "vllm_kernels"
    path: str
    skew: bool = True


def available(context: Context) -> bool:
    """Returns False: only by name."""
    return False


def open_source(settings: Settings, context: Context, field: str) -> Tables:
    """Returns the tables of the deployment's device, model, dtype and tensor parallelism; InputError where there are none."""
    field = f"{field}.path"
    folder = _folder(Path(settings.path), context, field)
    operators = _operators(context)
    experts = _experts(folder / "moe.csv", operators, field)
    within = {"kv_write", *(WITHIN_EXPERTS if experts else ())}
    tables = {
        **_curves(folder / "dense.csv", "tokens", operators, field),
        **_curves(folder / "per_sequence.csv", "sequences", operators, field),
        **_attention(folder, operators, settings.skew, field),
        **experts,
        **{key: Table.within(1) for each in operators if each.name in within and (key := key_of(each)) is not None},
    }
    return Tables(context.device, tables, _software(folder))


def _folder(path: Path, context: Context, field: str) -> Path:
    deployment = context.deployment
    if existing(path / "dense.csv"):
        if path.name.startswith("tp") and path.name != f"tp{deployment.tensor_parallel_size}":
            raise InputError(field, str(path), f"tables of tensor_parallel_size {deployment.tensor_parallel_size}")
        return path
    cache = "" if deployment.kv_cache_dtype == "auto" else f"-kv{deployment.kv_cache_dtype}"
    dtype = DTYPES[deployment.dtype] if deployment.quantization == "none" else deployment.quantization
    device = folder_of(path, deployment.device, field)
    wanted = device / deployment.model / f"{dtype}{cache}" / f"tp{deployment.tensor_parallel_size}"
    if existing(wanted / "dense.csv") is None:
        there = sorted({str(each.parent.relative_to(path)) for each in path.rglob("dense.csv*")})
        raise InputError(
            field, str(path), f"a folder with {wanted.relative_to(path)}/dense.csv; it has {', '.join(there) or 'none'}"
        )
    return wanted


def _operators(context: Context) -> list[Operator]:
    """Returns the family's operators for this model and shard, at one point each: their shapes are what counts."""
    family = catalog.module("families", context.model.family, "deployment.model.family")
    shard, one = Shard.of(context.model, context.deployment), np.ones(1, dtype=np.int64)
    decodes: list[Operator] = family.decode_operators(shard, one, one.astype(np.float64))
    return [
        *family.token_operators(shard, one, False),
        *family.sampled_operators(shard, one),
        *family.prefill_operators(shard, one, one),
        *decodes,
    ]


def _software(folder: Path) -> dict[str, str]:
    meta = folder.parent / "meta.yaml"
    about = yaml.safe_load(meta.read_text(encoding="utf-8")) if meta.is_file() else {}
    names = {"vllm": "vllm_version", "cuda": "cuda_version", "gpu": "gpu", "model": "model", "date": "profiled_at"}
    return {name: str(about[key]) for name, key in names.items() if key in about}


def _curves(path: Path, extent: str, operators: list[Operator], field: str) -> dict[Key, Table]:
    file = existing(path)
    if file is None:
        raise InputError(field, str(path), "a file that is there, or gzipped")
    layers = _layers(file, changed(file), extent, field)
    keyed = ((key_of(operator), LAYERS.get(operator.name)) for operator in operators)
    return {key: layers[layer] for key, layer in keyed if key is not None and layer in layers}


@cache
def _layers(file: Path, written: int, extent: str, field: str) -> dict[str | None, Table]:
    columns = read(file, ("layer", extent, "time_us"), field)
    layer = np.array(columns["layer"])
    at, seconds = numbers(file, columns, extent, field), times(file, columns, "time_us", MICROSECOND, field)
    return {str(name): Table.of([at[layer == name]], seconds[layer == name]) for name in np.unique(layer)}


def _attention(folder: Path, operators: list[Operator], skew: bool, field: str) -> dict[Key, Table]:
    file = existing(folder / "attention.csv")
    if file is None:
        raise InputError(field, str(folder / "attention.csv"), "a file that is there, or gzipped")
    unequal = existing(folder / "skew.csv") if skew else None
    measured = attention_of(file, changed(file), unequal, changed(unequal), field)
    tables: dict[Key, Table] = {}
    for operator in operators:
        key = key_of(operator)
        if key is not None and isinstance(operator, PrefillAttention):
            tables[key] = measured.prefill
        elif key is not None and isinstance(operator, DecodeAttention):
            tables[key] = measured.decode
            if measured.mixed is not None and measured.pairs is not None:
                tables[MIXED, *key[1:]], tables[MIXED_PAIRS, *key[1:]] = measured.mixed, measured.pairs
    return tables


def _experts(path: Path, operators: list[Operator], field: str) -> dict[Key, Table]:
    """Returns the experts' table over rows assigned (tokens x experts a token) and experts activated."""
    experts = [operator for operator in operators if isinstance(operator, Experts)]
    file = existing(path) or existing(path.parent.parent / "tp1" / path.name)
    if not experts or file is None:
        return {}
    columns: Columns = read(file, ("tokens", "activated_experts", "time_us"), field)
    tokens, activated = numbers(file, columns, "tokens", field), numbers(file, columns, "activated_experts", field)
    seconds = times(file, columns, "time_us", MICROSECOND, field)
    return {key: Table.of([tokens * each.top_k, activated], seconds) for each in experts if (key := key_of(each)) is not None}
