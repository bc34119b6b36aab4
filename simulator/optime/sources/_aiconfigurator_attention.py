"""Attention of AIConfigurator's tables: grouped-query, windowed and latent; interpolated in its ratio to the roofline."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from simulator.optime.attended import DecodeAttention, LatentDecode, LatentPrefill, PrefillAttention
from simulator.optime.bound import bound
from simulator.optime.grids import across, along, at_least, filled, kinds_of, locate
from simulator.optime.operators import Floats, Ints
from simulator.optime.provenance import EXTRAPOLATED, INTERPOLATED, Priced
from simulator.optime.sources._aiconfigurator_tables import Place, Table, read
from simulator.spec.device import Device, Dtype

Prefill = PrefillAttention | LatentPrefill
Decode = DecodeAttention | LatentDecode
SIXTEEN_BITS = ("bfloat16", "float16")
WINDOWS = (128, 1024, 8192)
# The compressed KV with its rotary key, and what is summed of it, of all models in the latent tables.
LATENT = (576, 512)


def table(place: Place, operator: Prefill | Decode) -> Table | None:
    """Returns the rows of the operator's types and nearest window; of the latent kind perhaps another engine's."""
    if operator.dtype not in (*SIXTEEN_BITS, "fp8"):
        return None
    kv = "fp8" if (operator.kv_dtype or operator.dtype) == "fp8" else "bfloat16"
    query = "fp8" if operator.dtype == "fp8" else "bfloat16"
    if isinstance(operator, LatentPrefill | LatentDecode):
        known = isinstance(operator, LatentPrefill) or (operator.latent_dim, operator.v_dim) == LATENT
        rows = (_latent(each, operator, dtype) for dtype in (kv, "bfloat16") for each in (place, *place.others))
        return next((table for table in rows if table is not None), None) if known else None
    windows = (0,) if operator.window is None else _windows(operator.window)
    types = ((query, kv),) if query == "fp8" else ((query, kv), (query, "bfloat16"))
    found = (_grouped(place, operator, window, *each) for each in types for window in windows)
    return next((table for table in found if table is not None), None)


def _windows(window: int) -> tuple[int, ...]:
    return (*sorted(WINDOWS, key=lambda measured: abs(np.log(measured / window))), 0)


def _grouped(place: Place, operator: PrefillAttention | DecodeAttention, window: int, query: str, kv: str) -> Table | None:
    heads = ("num_heads", "num_key_value_heads", "head_dim")
    if isinstance(operator, DecodeAttention):
        chosen: dict[str, str | int] = {"attn_dtype": query, "kv_cache_dtype": kv, "window_size": window}
        found = read(place, "attention", "generation_attention", (*heads, "batch_size", "step"), **chosen)
    else:
        chosen = {"attn_dtype": query, "kv_cache_dtype": kv, "window_size": window}
        found = read(place, "attention", "context_attention", (*heads, "isl"), batch_size=1, step=0, **chosen)
    return found if window == 0 or found is None or operator.head_dim in _triples(found)[:, 2] else None


def _latent(place: Place, operator: LatentPrefill | LatentDecode, kv: str) -> Table | None:
    if isinstance(operator, LatentDecode):
        return read(place, "mla", "generation_mla", ("num_heads", "batch_size", "step"), kv_cache_dtype=kv)
    return read(place, "mla", "context_mla", ("num_heads", "isl"), batch_size=1, step=0, kv_cache_dtype=kv)


def prefill(operator: Prefill, table: Table, least: Floats, device: Device, exact: bool) -> Priced:
    """Returns the work's share of a whole prompt: t(chunk, kv) = t(kv + chunk) x work(chunk, kv) / work(kv + chunk).

    The tables have no cached prefix. A chunk is never faster than alone, without the KV before it.
    """
    rows, same, like = _nearest(operator, table)
    lines = rows.columns["isl"]
    log_ratio = np.log(rows.seconds / _bound(replace(like, chunk=lines, kv_before=np.zeros_like(lines)), device))

    def whole(length: Ints) -> Floats:
        prompt = _bound(replace(operator, chunk=length, kv_before=np.zeros_like(length)), device)
        return prompt * np.exp(along(locate(lines, length), log_ratio))

    length = operator.kv_before + operator.chunk
    share = operator.flops / replace(operator, chunk=length, kv_before=np.zeros_like(length)).flops
    seconds = np.maximum(whole(length) * share, whole(operator.chunk))
    alone = (operator.kv_before == 0) & same
    kinds = np.where(alone, kinds_of(locate(lines, length)), EXTRAPOLATED).astype(np.int8)
    return at_least(seconds, least, kinds if exact else np.maximum(kinds, INTERPOLATED))


def decode(operator: Decode, table: Table, least: Floats, device: Device, exact: bool) -> Priced:
    """Returns times over batch and KV; where the KV heads differ from the measured ones, batch x KV heads counts.

    The kernel's blocks are spread over sequences and KV heads alike.
    """
    rows, same, like = _nearest(operator, table)
    batches, at_row = np.unique(rows.columns["batch_size"], return_inverse=True)
    lengths, at_column = np.unique(rows.columns["step"] + 1, return_inverse=True)
    batch, kv = rows.columns["batch_size"], rows.columns["step"].astype(np.float64) + 1
    log_ratio = np.full((len(batches), len(lengths)), np.nan)
    log_ratio[at_row, at_column] = np.log(rows.seconds / _bound(replace(like, batch=batch, kv_mean=kv), device))
    table_ratio, gaps = filled(log_ratio)
    scale = (
        operator.kv_heads / like.kv_heads if isinstance(operator, DecodeAttention) and isinstance(like, DecodeAttention) else 1.0
    )
    at_batch = locate(batches, operator.batch.astype(np.float64) * scale)
    at_kv = locate(lengths, operator.kv_mean)
    seconds = least * np.exp(across(at_batch, at_kv, table_ratio))
    kinds = np.where(gaps[at_batch.high, at_kv.high] | (not same), EXTRAPOLATED, kinds_of(at_batch, at_kv)).astype(np.int8)
    return at_least(seconds, least, kinds if exact else np.maximum(kinds, INTERPOLATED))


def _bound(operator: Prefill | Decode, device: Device) -> Floats:
    least = bound(operator, device)
    assert least is not None, "the operator itself has a bound"
    return least


def _nearest(operator: Any, table: Table) -> tuple[Table, bool, Any]:
    """Returns the rows of the nearest measured head counts, whether they are the operator's, and an operator as measured."""
    if isinstance(operator, LatentPrefill | LatentDecode):
        counts = _counts(table)
        heads = int(counts[np.argmin(np.abs(np.log(counts / operator.heads)))])
        return (
            _with_heads(table, heads),
            heads == operator.heads,
            replace(operator, heads=heads, kv_dtype=_kv_dtype(operator, table)),
        )
    rows, heads, kv_heads, dim = _head_rows(table, operator.heads, operator.kv_heads, operator.head_dim)
    window = int(table.chosen.get("window_size", 0)) or None
    kv = _kv_dtype(operator, table)
    like = replace(operator, heads=heads, kv_heads=kv_heads, head_dim=dim, window=window, kv_dtype=kv)
    wanted = (operator.heads, operator.kv_heads, operator.head_dim, operator.window)
    return rows, wanted == (heads, kv_heads, dim, window), like


def _kv_dtype(operator: Prefill | Decode, table: Table) -> Dtype:
    return "fp8" if table.chosen.get("kv_cache_dtype") == "fp8" else operator.dtype


@cache
def _counts(table: Table) -> Ints:
    return np.unique(table.columns["num_heads"])


@cache
def _with_heads(table: Table, heads: int) -> Table:
    return table.where(num_heads=heads)


@cache
def _triples(table: Table) -> Ints:
    return np.unique(np.column_stack([table.columns[c] for c in ("num_heads", "num_key_value_heads", "head_dim")]), axis=0)


@cache
def _head_rows(table: Table, heads: int, kv_heads: int, head_dim: int) -> tuple[Table, int, int, int]:
    """Returns the rows of the measured head counts nearest to these, and those counts: head size, ratio, then size."""

    def distance(triple: Ints) -> tuple[float, float, float]:
        ratio = abs(np.log((triple[0] / triple[1]) / (heads / kv_heads)))
        return abs(np.log(triple[2] / head_dim)), round(float(ratio), 9), abs(np.log(triple[1] / kv_heads))

    h, kv, dim = (int(value) for value in min(_triples(table), key=distance))
    return table.where(num_heads=h, num_key_value_heads=kv, head_dim=dim), h, kv, dim
