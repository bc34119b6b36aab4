"""AIConfigurator's tables between their points: each inner line is left out and predicted from the rest of its table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from simulator import catalog
from simulator.accuracy import Case, Kind, NotCovered, Values
from simulator.optime.attended import DecodeAttention, LatentDecode, LatentPrefill, PrefillAttention
from simulator.optime.bound import bound
from simulator.optime.operators import Experts, Floats, Gemm, Ints
from simulator.optime.sources import _aiconfigurator_attention as attention
from simulator.optime.sources import _aiconfigurator_experts as experts
from simulator.optime.sources import _aiconfigurator_gemm as gemm
from simulator.optime.sources import _aiconfigurator_tables as source
from simulator.spec.device import Device

DESCRIPTION = (
    "The tables that the source `aiconfigurator` reads, scored on their own points in the way that the source uses them: of GEMMs "
    "the rows of one width n are left out, of attention those of one length, of experts those of one number of tokens, and "
    "predicted from the rest. Points are then spaced twice as wide as in use, so this overstates the error between points; of what "
    "lies beyond the tables, of experts of other shapes, of other engines' kernels and of chunks after cached tokens, which the "
    "tables lack, it says nothing. A case is one class on one device."
)
SOURCE = f"{source.PACKAGE} {source.VERSION}, Apache-2.0, installed beside Trimtab"
KIND: Kind = "operators"
ENGINE = "vllm"
HEADS = (32, 8, 128)
# Heads on each of eight GPUs, key and value widths, compressed KV with its rotary key and without: DeepSeek-V3.
LATENT_HEADS, LATENT_KEY, LATENT_VALUE, LATENT, COMPRESSED = 16, 192, 128, 576, 512
# Lines left out of a table, spread over it.
MOST_LINES = 12
Prefill = PrefillAttention | LatentPrefill
Decode = DecodeAttention | LatentDecode
Shape = Gemm | Experts | Prefill | Decode


@dataclass(frozen=True, eq=False)
class Left:
    """A table and its place, the column along which its lines are left out, and an operator of its kind."""

    table: source.Table
    column: str
    operator: Shape
    device: Device
    place: source.Place


def available(data_dir: Path) -> bool:
    """Returns whether the package is installed; its tables are not in the data folder."""
    return source.systems_folder() is not None


def cases(data_dir: Path) -> list[Case]:
    """Returns a case for each device and class."""
    return list(_cases())


def predict(case: Case) -> Values:
    """Returns every left-out point as the rest of its table tells it."""
    left = case.inputs
    assert isinstance(left, Left), "made by `cases`"
    parts = [_without(left, line) for line in _lines(left)]
    if not parts:
        raise NotCovered("too few lines")
    return {type(left.operator).__name__: np.concatenate(parts)}


def _cases() -> Iterator[Case]:
    none = np.empty(0, dtype=np.int64)
    heads, kv_heads, dim = HEADS
    for name, system in source.SYSTEMS.items():
        if name not in catalog.names("devices"):
            continue
        place, device = source.Place(system, ENGINE, source.NEWEST), catalog.device(name)
        prefill = PrefillAttention("", none, none, heads, kv_heads, dim, "bfloat16")
        decode = DecodeAttention("", none, none.astype(np.float64), heads, kv_heads, dim, "bfloat16")
        latent_prefill = LatentPrefill("", none, none, LATENT_HEADS, LATENT_KEY, LATENT_VALUE, LATENT, "bfloat16")
        latent_decode = LatentDecode("", none, none.astype(np.float64), LATENT_HEADS, LATENT, COMPRESSED, "bfloat16")
        product, routed = Gemm("", none, 1, 1, "bfloat16"), Experts("", none, 1, 1, 1, 1, 1, "bfloat16")
        found = (
            (next(iter(gemm.tables(place, product, block_scaled=False)), None), "n", product),
            (_of_heads(attention.table(place, prefill)), "isl", prefill),
            (_of_heads(attention.table(place, decode)), "step", decode),
            (_of_latent_heads(attention.table(place, latent_prefill)), "isl", latent_prefill),
            (_of_latent_heads(attention.table(place, latent_decode)), "step", latent_decode),
            (experts.table(place, routed, block_scaled=False), "num_tokens", routed),
        )
        for table, column, operator in found:
            if table is not None and len(table.seconds):
                yield _case(name, Left(table, column, operator, device, place))


def _of_heads(table: source.Table | None) -> source.Table | None:
    names = ("num_heads", "num_key_value_heads", "head_dim")
    return None if table is None else table.where(**dict(zip(names, HEADS, strict=True)))


def _of_latent_heads(table: source.Table | None) -> source.Table | None:
    return None if table is None else table.where(num_heads=LATENT_HEADS)


def _case(device: str, left: Left) -> Case:
    name = type(left.operator).__name__
    lines = _lines(left)
    parts = [_at(left, line).seconds for line in lines]
    measured = np.concatenate(parts) if parts else np.empty(0)
    return Case(id=f"{device} {name}", model="", device=device, source="aiconfigurator", measured={name: measured}, inputs=left)


def _lines(left: Left) -> list[int]:
    """Returns the lines that are left out, none of them at an end."""
    inner = np.unique(left.table.columns[left.column])[1:-1]
    if len(inner) == 0:
        return []
    places = np.unique(np.linspace(0, len(inner) - 1, min(MOST_LINES, len(inner))).astype(np.int64))
    return [int(inner[place]) for place in places]


def _without(left: Left, line: int) -> Floats:
    """Returns the seconds of a line's points by the table without it."""
    column = left.table.columns[left.column]
    keep = column != line
    rest = replace(
        left.table,
        columns={name: values[keep] for name, values in left.table.columns.items()},
        seconds=left.table.seconds[keep],
    )
    of = _at(left, line).columns
    if isinstance(left.operator, Gemm):
        return _products(left, rest, of["k"], of["m"], line)
    return _experts(left, rest, of) if isinstance(left.operator, Experts) else _attention(left, rest, of)


def _at(left: Left, line: int) -> source.Table:
    """Returns the points of a line."""
    return left.table.where(**{left.column: line})


def _products(left: Left, rest: source.Table, depth: Ints, rows: Ints, width: int) -> Floats:
    assert isinstance(left.operator, Gemm)
    seconds = np.full(rows.shape, np.nan)
    for k in np.unique(depth):
        at = depth == k
        operator = replace(left.operator, m=rows[at], n=width, k=int(k))
        priced = gemm.price(operator, (rest,), _least(operator, left.device), left.device, left.place, False)
        if priced is not None:
            seconds[at] = priced.seconds
    return seconds


def _experts(left: Left, rest: source.Table, columns: Mapping[str, Ints]) -> Floats:
    """Returns the seconds of one number of tokens for every shape that was measured with it."""
    assert isinstance(left.operator, Experts)
    seconds = np.empty(columns["num_tokens"].shape)
    for place in range(len(seconds)):
        hidden, inner, top_k, every, tensor, expert, tokens = (int(columns[name][place]) for name in experts.COLUMNS)
        operator = replace(
            left.operator,
            rows=np.array([tokens]),
            hidden_size=hidden,
            intermediate_size=inner // tensor,
            experts=every,
            local_experts=every // expert,
            top_k=top_k,
            load=str(rest.chosen.get("distribution", left.operator.load)),
        )
        seconds[place] = experts.price(operator, rest, _least(operator, left.device), left.device, True).seconds[0]
    return seconds


def _attention(left: Left, rest: source.Table, columns: Mapping[str, Ints]) -> Floats:
    if isinstance(left.operator, Prefill):
        chunk = columns["isl"]
        operator = replace(left.operator, chunk=chunk, kv_before=np.zeros_like(chunk))
        return attention.prefill(operator, rest, _least(operator, left.device), left.device, True).seconds
    assert isinstance(left.operator, Decode)
    decodes = replace(left.operator, batch=columns["batch_size"], kv_mean=columns["step"].astype(np.float64) + 1)
    return attention.decode(decodes, rest, _least(decodes, left.device), left.device, True).seconds


def _least(operator: Shape, device: Device) -> Floats:
    least = bound(operator, device)
    assert least is not None, "every device has the rate of 16 bits"
    return least
