"""Which operators share a table of measured times, and where in it they lie.

The key of an operator is all that its time depends on but its extents; its places are the extents. 16-bit floats run alike.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simulator.optime.attended import DecodeAttention, LatentDecode, LatentPrefill, PrefillAttention
from simulator.optime.operators import Collective, Experts, Floats, Gemm, Ints, Memory, Operator, Transfer

Key = tuple[object, ...]
Places = tuple[Floats, ...]
GEMM, MEMORY, EXPERTS, PREFILL, DECODE, MIXED = "gemm", "memory", "experts", "prefill_attention", "decode_attention", "mixed_decode"
# What decodes beside a chunk add whatever its length, and what they add for every token of it: extents (decodes, KV) and pairs.
MIXED_PAIRS = "mixed_pairs"
LATENT_PREFILL, LATENT_DECODE = "latent_prefill", "latent_decode"
COLLECTIVES = {"AllReduce": "all_reduce", "AllGather": "all_gather", "AllToAll": "all_to_all"}
SEND = "send_recv"
# What a key holds after its kind, and the extents, as columns of a profile are called.
_HEADS = ("heads", "kv_heads", "head_dim", "dtype", "kv_dtype")
KEYS: dict[str, tuple[str, ...]] = {
    GEMM: ("n", "k", "dtype", "weight_dtype"),
    MEMORY: ("name", "bytes_per_row"),
    EXPERTS: ("hidden_size", "intermediate_size", "gated", "dtype", "weight_dtype"),
    PREFILL: _HEADS,
    DECODE: _HEADS,
    MIXED: _HEADS,
    MIXED_PAIRS: _HEADS,
    LATENT_PREFILL: ("heads", "qk_head_dim", "v_head_dim", "latent_dim", "dtype", "kv_dtype"),
    LATENT_DECODE: ("heads", "latent_dim", "v_dim", "dtype", "kv_dtype"),
    **dict.fromkeys((*COLLECTIVES.values(), SEND), ("gpus",)),
}
EXTENTS: dict[str, tuple[str, ...]] = {
    GEMM: ("rows",),
    MEMORY: ("rows",),
    EXPERTS: ("assigned", "activated"),
    PREFILL: ("chunk", "kv_before"),
    LATENT_PREFILL: ("chunk", "kv_before"),
    DECODE: ("decodes", "kv"),
    MIXED: ("decodes", "kv"),
    MIXED_PAIRS: ("pairs",),
    LATENT_DECODE: ("decodes", "kv"),
    **dict.fromkeys((*COLLECTIVES.values(), SEND), ("bytes",)),
}
# What is measured by tokens: the kinds whose first extent is rows.
BY_TOKENS = (GEMM, MEMORY)


def float_name(dtype: str) -> str:
    """Returns the dtype, float16 as bfloat16: tensor cores and memory do not tell them apart."""
    return "bfloat16" if dtype == "float16" else dtype


def key_of(operator: Operator) -> Key | None:
    """Returns the key of the operator's table, its kind first; None for what no table can hold.

    A sliding window narrower than the chunk, and experts under a skewed load, are such.
    """
    match operator:
        case Gemm():
            return GEMM, operator.n, operator.k, float_name(operator.dtype), float_name(operator.weight_dtype or operator.dtype)
        case Memory():
            return MEMORY, operator.name, float(operator.bytes_per_row)
        case Experts():
            dtypes = float_name(operator.dtype), float_name(operator.weight_dtype or operator.dtype)
            balanced = operator.load == "balanced"
            return (EXPERTS, operator.hidden_size, operator.intermediate_size, operator.gated, *dtypes) if balanced else None
        case PrefillAttention():
            return (PREFILL, *_heads(operator)) if operator.window is None else None
        case DecodeAttention():
            return (MIXED if operator.beside_chunk else DECODE, *_heads(operator))
        case LatentPrefill():
            dtypes = float_name(operator.dtype), float_name(operator.kv_dtype or operator.dtype)
            return (LATENT_PREFILL, operator.heads, operator.qk_head_dim, operator.v_head_dim, operator.latent_dim, *dtypes)
        case LatentDecode():
            dtypes = float_name(operator.dtype), float_name(operator.kv_dtype or operator.dtype)
            return (LATENT_DECODE, operator.heads, operator.latent_dim, operator.v_dim, *dtypes)
        case Collective():
            kind = COLLECTIVES.get(type(operator).__name__)
            return None if kind is None else (kind, operator.gpus)
        case Transfer():
            return SEND, operator.gpus
    return None


def _heads(operator: PrefillAttention | DecodeAttention) -> Key:
    dtypes = float_name(operator.dtype), float_name(operator.kv_dtype or operator.dtype)
    return operator.heads, operator.kv_heads, operator.head_dim, *dtypes


def places_of(operator: Operator) -> Places:
    """Returns the extents of every point: rows; bytes; rows assigned and experts activated; chunk and KV; decodes and KV."""
    match operator:
        case Experts():
            return operator.assigned, operator.activated
        case PrefillAttention() | LatentPrefill():
            return operator.chunk.astype(np.float64), operator.kv_before.astype(np.float64)
        case DecodeAttention():
            return operator.batch.astype(np.float64), operator.keys.astype(np.float64)
        case LatentDecode():
            return operator.batch.astype(np.float64), operator.kv_mean.astype(np.float64)
        case Collective() | Transfer():
            return (operator.bytes,)
    return (operator.tokens.astype(np.float64),)


def moved(operator: Operator, places: Places) -> Operator | None:
    """Returns the operator at other places, for its roofline.

    None for experts, whose places follow from their rows, and for what is sent, whose roofline grows as its bytes do.
    """
    first = _whole(places[0])
    match operator:
        case Gemm():
            return replace(operator, m=first)
        case Memory():
            return replace(operator, rows=first)
        case PrefillAttention() | LatentPrefill():
            return replace(operator, chunk=first, kv_before=_whole(places[1]))
        case DecodeAttention() | LatentDecode():
            return replace(operator, batch=first, kv_mean=places[1])
    return None


def _whole(values: Floats) -> Ints:
    return np.rint(values).astype(np.int64)
