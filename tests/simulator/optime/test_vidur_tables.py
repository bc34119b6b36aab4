"""Vidur's tables: a step's price by hand, the recorded compositions, and what a table cannot be."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from simulator.errors import Infeasible, InputError
from simulator.kernel.pricelist import Floats, Ints
from simulator.optime.sources import vidur_tables
from simulator.resolve import resolve
from simulator.run import Prepared, prepare, simulate
from simulator.spec.deployment import Deployment
from simulator.traffic import Traffic
from tests.shared import data_dir

TOKENS, BATCH, KV, LAYERS = 64, 4, 3, 32
Table = dict[str, Any]
Write = Callable[[Table], Path]


@pytest.fixture
def table() -> Table:
    """A table whose every number differs."""
    rng = np.random.default_rng(5)
    by_tokens = {name: rng.random(TOKENS) for name in (*vidur_tables.LINEAR, "attn_kv_cache_save", "all_reduce", "send_recv")}
    scalars = {"num_layers_per_stage": 16, "prefill_batching_overhead": 0.3, "decode_batching_overhead": 0.2, "nccl_launch_ms": 0.5}
    return {**by_tokens, **scalars, "attn_decode": rng.random((BATCH, KV)), "attn_prefill": rng.random((KV, TOKENS))}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a table and returns its path."""

    def written(table: Table) -> Path:
        np.savez(tmp_path / "table.npz", **table)
        return tmp_path / "table.npz"

    return written


def prepared(path: Path, **knobs: Any) -> Prepared:
    fields = {
        "model": "meta-llama/Llama-3.1-8B",
        "device": "H200-SXM",
        "scheduler": "sarathi_serve",
        "max_num_batched_tokens": TOKENS,
        "max_num_seqs": 8,
        "max_model_len": 128,
        "async_scheduling": False,
        "enable_prefix_caching": False,
        **knobs,
    }
    deployment = resolve(Deployment.parse(fields, "deployment"))
    return prepare(deployment, [{"source": "vidur_tables", "path": str(path)}])


def price(found: Prepared, stage: int, chunks: list[tuple[int, int]], decodes: list[int]) -> float:
    """Returns a stage's seconds for chunks (tokens, computed before) and decodes (KV, the new token counted).

    By the price list's own rules, at its knots: every point of the table is one.
    """
    costs = found.price_list
    assert costs.merged_prefill and costs.kv_quantum == 64
    tokens = sum(chunk for chunk, _ in chunks) + len(decodes)
    layers = costs.token_s[(2 if decodes else 1) if chunks else 0, tokens]
    if chunks:
        chunk = round(sum(chunk * chunk for chunk, _ in chunks) ** 0.5)
        before = sum(-(-before // 64) * 64 for _, before in chunks)
        factor = costs.prefill_factor if len(chunks) > 1 else 1.0
        layers += factor * at(costs.prefill_s, costs.prefill_chunk, costs.prefill_kv, chunk, before)
    if decodes:
        mean = -(-(sum(decodes) // len(decodes)) // 64) * 64
        layers += at(costs.decode_s, costs.decode_batch, costs.decode_kv, len(decodes), mean)
    return float(costs.stage_share[stage] * layers + costs.stage_token_s[stage, tokens])


def at(table: Floats, rows: Ints, columns: Ints, row: int, column: int) -> float:
    """Returns the table's value at two knots."""
    return float(table[rows.tolist().index(row), columns.tolist().index(column)])


def by_hand(table: Table, stage: int, chunks: list[tuple[int, int]], decodes: list[int]) -> float:
    """Returns the same as Vidur has it, in seconds."""
    tokens = sum(chunk for chunk, _ in chunks) + len(decodes)
    up = math.ceil(tokens / 8) * 8 - 1
    layer = sum(table[name][up] for name in vidur_tables.LINEAR) + table["attn_kv_cache_save"][tokens - 1]
    layer += 2 * (table["all_reduce"][up] + table["nccl_launch_ms"])
    if decodes:
        factor = 1 + table["decode_batching_overhead"] * (len(decodes) > 1)
        layer += table["attn_decode"][len(decodes) - 1, math.ceil(int(np.mean(decodes)) / 64)] * factor
    if chunks:
        factor = 1 + table["prefill_batching_overhead"] * (len(chunks) > 1)
        place = sum(math.ceil(before / 64) for _, before in chunks)
        layer += table["attn_prefill"][place, round(sum(chunk**2 for chunk, _ in chunks) ** 0.5) - 1] * factor
    sent = table["send_recv"][up] if stage == 0 else 0.0
    return float(layer * table["num_layers_per_stage"] + sent) * 1e-3


@pytest.mark.parametrize(
    ("chunks", "decodes"),
    [
        ([], [1]),
        ([], [64, 65]),
        ([(9, 0)], []),
        ([(9, 0), (20, 64)], []),
        ([(9, 1), (20, 64)], [70, 3, 128]),
        ([(1, 30)], [100]),
        ([(60, 128)], [128, 128, 128, 128]),
    ],
)
def test_a_step_is_priced_as_vidur_does(table: Table, write: Write, chunks: Any, decodes: Any) -> None:
    found = prepared(write(table), tensor_parallel_size=2, pipeline_parallel_size=2)
    for stage in (0, 1):
        assert price(found, stage, chunks, decodes) == pytest.approx(by_hand(table, stage, chunks, decodes), rel=1e-12)


MODELS = {
    "L7": "meta-llama/Llama-2-7b-hf",
    "L38": "meta-llama/Meta-Llama-3-8B",
    "L70": "meta-llama/Llama-2-70b-hf",
    "C34": "codellama/CodeLlama-34b-Instruct-hf",
    "Q72": "Qwen/Qwen-72B",
}
DEVICES = {"a100": "A100-80G-SXM", "h100": "H100-SXM", "a40": "A40"}
NAME = re.compile(r"(?P<device>[a-z0-9]+)_.*_(?P<model>[A-Z]\d+)_tp(?P<tensor>\d)(_pp(?P<pipeline>\d))?")


def recorded_engine(folder: Path, name: str) -> Prepared:
    """Returns the engine that a recorded table is for."""
    parts = NAME.match(name)
    assert parts is not None, name
    return prepared(
        folder / "tables" / f"{name}.npz",
        model=MODELS[parts["model"]],
        device=DEVICES[parts["device"]],
        tensor_parallel_size=int(parts["tensor"]),
        pipeline_parallel_size=int(parts["pipeline"] or 1),
        max_num_batched_tokens=4096,
        max_num_seqs=128,
        max_model_len=4096,
        num_gpu_blocks_override=300,
    )


def test_recorded_compositions_have_vidurs_stage_times() -> None:
    folder = data_dir("vidur-reference")
    points = pd.read_csv(folder / "perop_points.csv.gz", keep_default_na=False)
    compared = 0
    for name, rows in points.groupby("table"):
        found = recorded_engine(folder, str(name))
        for row in rows.itertuples(index=False):
            chunks = [part.split(":") for part in str(row[4]).split(";") if part]
            decodes = [int(kv) for kv in str(row[5]).split(";") if kv]
            seconds = price(found, int(str(row.stage)), [(int(chunk), int(kv)) for kv, chunk in chunks], decodes)
            # A point's own operators were printed to ten digits.
            assert seconds == pytest.approx(float(str(row.stage_time_s)), rel=1e-9), (name, row)
            compared += 1
    assert compared == len(points) > 300


def test_origins_name_every_operator_and_the_file(table: Table, write: Write) -> None:
    path = write(table)
    origins = prepared(path, tensor_parallel_size=2, pipeline_parallel_size=2).provenance.operators
    assert set(origins) == set(table) - set(vidur_tables.SCALARS)
    assert {origin.kind for origin in origins.values()} == {"interpolated"}
    digests = {origin.versions["vidur_tables"] for origin in origins.values()}
    assert len(digests) == 1 and digests.pop().startswith("sha256:")


def test_what_several_gpus_need_is_absent_where_the_table_lacks_it(table: Table, write: Write) -> None:
    path = write({name: values for name, values in table.items() if name not in ("all_reduce", "send_recv")})
    assert prepared(path).provenance.absent == []
    assert prepared(path, tensor_parallel_size=2, pipeline_parallel_size=2).provenance.absent == ["all_reduce", "send_recv"]


# The end of a table


def traffic(*requests: tuple[int, int]) -> Traffic:
    prompt, output = (np.array(column) for column in zip(*requests, strict=True))
    zeros = np.zeros(len(requests))
    return Traffic(zeros, prompt, output, zeros.astype(np.int64), 1.0)


@pytest.mark.parametrize(
    ("knobs", "requests", "told"),
    [
        ({"max_num_batched_tokens": 256}, [(100, 1)], r"a step of 100 tokens has no price: the operator times end at 64"),
        ({}, [(3, 2)] * 5, r"a step of 5 decodes has no price: the operator times end at 4"),
        ({"max_model_len": 512}, [(160, 2)], r"decodes over 161 KV tokens on average have no price: .* end at 128"),
        ({"max_model_len": 512}, [(300, 1)], r"a prompt's chunk after 192 KV tokens has no price: .* end at 128"),
        ({"scheduler": "orca"}, [(40, 1)] * 2, r"a step of 80 tokens has no price: the operator times end at 64"),
    ],
)
def test_beyond_the_table_a_run_is_refused(
    table: Table, write: Write, knobs: dict[str, Any], requests: list[tuple[int, int]], told: str
) -> None:
    found = prepared(write(table), **knobs)
    with pytest.raises(Infeasible, match=told):
        simulate(found, traffic(*requests))


def test_within_the_table_the_same_engine_runs(table: Table, write: Write) -> None:
    found = prepared(write(table), max_num_batched_tokens=256, max_model_len=512)
    assert np.isfinite(simulate(found, traffic((60, 3), (3, 9))).finished_at).all()


# What is no table


def refused(path: Path, told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        prepared(path)
    assert error.value.field == "profiles.0.path"
    assert "\n" not in str(error.value)


def test_what_is_no_table_is_told(table: Table, write: Write, tmp_path: Path) -> None:
    refused(tmp_path / "absent.npz", "No such file")
    (tmp_path / "text.npz").write_text("tokens,seconds")
    refused(tmp_path / "text.npz", "not an .npz of numbers")
    refused(write({name: table[name] for name in table if name not in ("add", "attn_decode")}), "lacks add, attn_decode")
    refused(write({**table, "attn_decode": np.ones(5)}), r"attn_decode has the shape \(5,\)")
    refused(write({**table, "add": -table["add"]}), "add is negative")
    refused(write({**table, "all_reduce": np.full(TOKENS, np.nan)}), "all_reduce is negative or not finite")
    refused(write({**table, "add": table["add"][:32]}), "end at different counts")


def test_the_path_is_needed() -> None:
    with pytest.raises(InputError, match=r"^profiles\.0\.path: "):
        vidur_tables.Settings.parse({"source": "vidur_tables"}, "profiles.0")
