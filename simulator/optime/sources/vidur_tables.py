"""Vidur's tables: whole iterations from the operator times that Vidur (arXiv 2405.05465) predicted, looked up as it does.

A table is an `.npz` with milliseconds a layer: nine linear operators, `attn_kv_cache_save`, `all_reduce` and `send_recv`
(where there are several GPUs) by tokens - 1; `attn_decode[batch - 1, kv / 64]`; `attn_prefill[kv / 64, chunk - 1]`;
`num_layers_per_stage`; and scalars. A layer of n tokens takes the linear operators at n rounded up to 8, the KV save at
n, decode attention at the mean KV rounded up to 64, prefill attention of all chunks as one, and two all-reduces, each with
`nccl_launch_ms`. Several decodes, or several chunks, are dearer by the overheads that the table states. A stage but the
last sends its output on. There is no embedding, LM head, sampling or host time. Beyond the table nothing has a price.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np

from simulator.errors import InputError
from simulator.optime.operators import Floats, Ints
from simulator.optime.provenance import Origin
from simulator.optime.sources import AttentionRules, Context, Knots
from simulator.spec.base import Spec

DEFAULT_RANK = None
KV_STEP = 64
TOKEN_STEP = 8
LINEAR = (
    *("attn_pre_proj", "attn_post_proj", "attn_rope", "mlp_up_proj", "mlp_down_proj", "mlp_act"),
    *("input_layernorm", "post_attention_layernorm", "add"),
)
KV_SAVE, DECODE, PREFILL, ALL_REDUCE, SEND_RECV = "attn_kv_cache_save", "attn_decode", "attn_prefill", "all_reduce", "send_recv"
SCALARS = ("num_layers_per_stage", "prefill_batching_overhead", "decode_batching_overhead", "nccl_launch_ms")
REQUIRED = (*LINEAR, KV_SAVE, DECODE, PREFILL, *SCALARS)


class Settings(Spec):
    """The table's file."""

    source: Literal["vidur_tables"] = "vidur_tables"
    path: str


@dataclass(frozen=True, eq=False)
class VidurTables:
    """An IterationSource over one table; `digest` is that of its file, `pipeline` and `tensor` the deployment's sizes."""

    table: dict[str, Floats]
    digest: str
    tensor: int
    pipeline: int

    @property
    def _layer_s(self) -> float:
        """Seconds of all layers for one millisecond of one layer."""
        return float(self.table["num_layers_per_stage"]) * self.pipeline * 1e-3

    def origins(self, name: str) -> dict[str, Origin]:
        """Returns each operator's origin: predicted between profiled shapes; what several GPUs need may be absent."""
        found = Origin(source=name, kind="interpolated", versions={name: self.digest})
        needed = [*LINEAR, KV_SAVE, DECODE, PREFILL]
        needed += [ALL_REDUCE] if self.tensor > 1 else []
        needed += [SEND_RECV] if self.pipeline > 1 else []
        return {operator: found if operator in self.table else Origin.absent() for operator in needed}

    def rules(self) -> AttentionRules:
        """Returns Vidur's: KV in steps of 64, chunks as one, several of them dearer."""
        overhead = float(self.table["prefill_batching_overhead"])
        return AttentionRules(kv_quantum=KV_STEP, merged_prefill=True, prefill_factor=1.0 + overhead)

    def most_tokens(self) -> int | None:
        """Returns the tokens at which the table ends."""
        return min(len(self.table[KV_SAVE]), len(self.table[LINEAR[0]]) // TOKEN_STEP * TOKEN_STEP)

    def knots(self, context: Context) -> Knots:
        """Returns every point of the table, so that nothing is interpolated."""
        decode, prefill = self.table[DECODE].shape, self.table[PREFILL].shape
        return Knots(
            decode_batch=np.arange(1, decode[0] + 1),
            decode_kv=np.arange(decode[1]) * KV_STEP,
            prefill_chunk=np.arange(1, prefill[1] + 1),
            prefill_kv=np.arange(prefill[0]) * KV_STEP,
        )

    def token_seconds(self, tokens: Ints) -> Floats:
        """Returns the linear operators, the KV save and the all-reduces, the same for every kind of iteration."""
        linear = sum((self.table[name] for name in LINEAR), np.zeros(1))
        if ALL_REDUCE in self.table:
            linear = linear + 2 * (self.table[ALL_REDUCE] + float(self.table["nccl_launch_ms"]))
        layer = linear[_rounded(tokens)] + self.table[KV_SAVE][np.maximum(tokens, 1) - 1]
        return np.tile(np.where(tokens > 0, layer, 0.0) * self._layer_s, (3, 1))

    def sample_seconds(self, sampled: Ints) -> Floats:
        """Returns zeros."""
        return np.zeros(sampled.shape)

    def decode_seconds(self, batch: Ints, kv: Ints) -> Floats:
        """Returns the table's decodes, several of them with their overhead."""
        overhead = np.where(batch > 1, float(self.table["decode_batching_overhead"]), 0.0)
        seconds: Floats = self.table[DECODE][np.ix_(batch - 1, kv // KV_STEP)] * (1.0 + overhead[:, None]) * self._layer_s
        return seconds

    def prefill_seconds(self, chunk: Ints, kv: Ints) -> Floats:
        """Returns the table's chunks."""
        seconds: Floats = self.table[PREFILL][np.ix_(kv // KV_STEP, chunk - 1)].T * self._layer_s
        return seconds

    def send_seconds(self, tokens: Ints) -> Floats:
        """Returns the table's sends, zeros where it has none."""
        sends = self.table.get(SEND_RECV)
        return np.zeros(tokens.shape) if sends is None else np.where(tokens > 0, sends[_rounded(tokens)], 0.0) * 1e-3


def _rounded(tokens: Ints) -> Ints:
    """Returns the place of tokens[n] rounded up to 8, of none as of one."""
    return -(-np.maximum(tokens, 1) // TOKEN_STEP) * TOKEN_STEP - 1


def available(context: Context) -> bool:
    """Returns False: only by name."""
    return False


def open_source(settings: Settings, context: Context, field: str) -> VidurTables:
    """Returns the table in the file; raises InputError when it is not there or lacks an operator."""
    path = Path(settings.path)
    try:
        raw = path.read_bytes()
        with np.load(path, allow_pickle=False) as arrays:
            table = {name: np.asarray(arrays[name], dtype=np.float64) for name in arrays.files}
    except (OSError, ValueError, BadZipFile, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not an .npz of numbers"
        raise InputError(f"{field}.path", settings.path, f"a readable .npz with Vidur's operator times ({reason})") from None
    _check(table, settings.path, field)
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()[:12]}"
    deployment = context.deployment
    return VidurTables(table, digest, deployment.tensor_parallel_size, deployment.pipeline_parallel_size)


def _check(table: dict[str, Floats], path: str, field: str) -> None:
    """Raises InputError for what is missing, of the wrong shape, negative or not finite."""

    def refuse(why: str) -> InputError:
        return InputError(f"{field}.path", path, f"an .npz with Vidur's operator times: {why}")

    missing = [name for name in REQUIRED if name not in table]
    if missing:
        raise refuse(f"this one lacks {', '.join(missing)}")
    tokens = (*LINEAR, KV_SAVE, *(name for name in (ALL_REDUCE, SEND_RECV) if name in table))
    dimensions = {**dict.fromkeys(SCALARS, 0), **dict.fromkeys(tokens, 1), DECODE: 2, PREFILL: 2}
    for name, dimension in dimensions.items():
        array = table[name]
        if array.ndim != dimension or min(array.shape, default=2) < 2:
            raise refuse(f"{name} has the shape {array.shape}")
        if not np.all(np.isfinite(array)) or np.any(array < 0):
            raise refuse(f"{name} is negative or not finite somewhere")
    if len({len(table[name]) for name in (*LINEAR, *tokens[len(LINEAR) + 1 :])}) > 1 or len(table[LINEAR[0]]) < TOKEN_STEP:
        raise refuse("operators by tokens end at different counts")
