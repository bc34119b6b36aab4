"""The oracle against Vidur: the same requests and the same operator times give the same times to each request.

The runs lie outside the repository (`vidur-reference` in the data folder); without them nothing here runs. Policies have
short ones here, the kernel all of them (test_vidur.py). In Vidur a decode asks for a free block even when its last one
has room: option `spare_block`.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests import naive
from tests.shared import data_dir

SHORT = (
    "s08_l7_a100_orca_conv",
    "s09_l7_a100_ft_fixed",
    "s19_l70_a100d_tp4_vllm_code",
    "s21_q72_a100d_tp4pp2_sar512_code",
)
LONG = (
    "s04_l7_a100_vllm_conv_mod",
    "s05_l7_a100_vllm_preempt_fixed",
    "s07_l7_a100_sar512_preempt_uniform",
    "s13_l38_a100_4rep_lor_conv_mod",
    "s16_c34_a100_tp2_sar1024_arxiv",
    "s18_l70_a100_tp2pp2_sar512_arxiv",
)
POLICY = {"sarathi": "sarathi_serve", "vllm": "vllm_v0"}
ROUTER = {"lor": "least_waiting"}
COLUMNS = ("scheduled_at", "first_token_at", "completed_at")
LINEAR = (
    *("attn_pre_proj", "attn_post_proj", "attn_rope", "mlp_up_proj", "mlp_down_proj"),
    *("mlp_act", "input_layernorm", "post_attention_layernorm", "add"),
)
LONGEST = 4096


class Table:
    """Vidur's operator times, looked up as Vidur looks them up: seconds of each stage of a step."""

    def __init__(self, name: str, stages: int) -> None:
        with np.load(data_dir("vidur-reference") / "tables" / f"{name}.npz") as file:
            self.of = {key: file[key] for key in file.files}
        self.stages = stages
        self.by_tokens = sum(self.of[operator] for operator in LINEAR)
        if "all_reduce" in self.of:
            self.by_tokens = self.by_tokens + 2 * (self.of["all_reduce"] + float(self.of["nccl_launch_ms"]))

    def __call__(self, work: Sequence[naive.Work], sampled: int) -> list[float]:
        tokens = sum(w.tokens for w in work)
        rounded = math.ceil(tokens / 8) * 8 - 1
        block = self.by_tokens[rounded] + self.of["attn_kv_cache_save"][tokens - 1]
        decodes, chunks = [w for w in work if w.decoding], [w for w in work if not w.decoding]
        if decodes:
            mean = sum(w.before + 1 for w in decodes) // len(decodes)
            overhead = 1 + float(self.of["decode_batching_overhead"]) * (len(decodes) > 1)
            block += self.of["attn_decode"][len(decodes) - 1, math.ceil(mean / 64)] * overhead
        if chunks:
            before, length = sum(math.ceil(w.before / 64) for w in chunks), round(math.hypot(*(w.tokens for w in chunks)))
            overhead = 1 + float(self.of["prefill_batching_overhead"]) * (len(chunks) > 1)
            block += self.of["attn_prefill"][before, length - 1] * overhead
        stage = float(block) * int(self.of["num_layers_per_stage"]) * 1e-3
        hop = float(self.of["send_recv"][rounded]) * 1e-3 if self.stages > 1 else 0.0
        return [stage + hop] * (self.stages - 1) + [stage]


def replayed(name: str) -> tuple[naive.Run, list[dict[str, str]]]:
    """Returns the oracle's run of a scenario, and Vidur's rows."""
    folder = data_dir("vidur-reference")
    scenario = next(s for s in json.loads((folder / "scenarios.json").read_text()) if s["id"] == name)
    result = json.loads((folder / "scenarios" / f"{name}.record.json").read_text())["results"]
    with gzip.open(folder / "scenarios" / f"{name}.requests.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    about, stages = scenario["scheduler"], scenario["replica"]["num_pipeline_stages"]
    policy = POLICY.get(about["type"], about["type"])
    blocks = int(result["num_kv_blocks"])
    knobs = naive.Knobs(
        scheduler=policy,
        max_num_batched_tokens=about.get("chunk_size", LONGEST),
        max_num_seqs=about.get("batch_size_cap", 128),
        block_size=int(result["block_size"]),
        max_model_len=LONGEST,
        kv_blocks=blocks,
        watermark_blocks=int(0.01 * blocks) if policy in ("sarathi_serve", "vllm_v0") else 0,
        pipeline_stages=stages,
        options={"spare_block": True} if policy in ("sarathi_serve", "vllm_v0") else {},
    )
    requests = [naive_request(row) for row in rows]
    router = ROUTER.get(scenario["global_scheduler"], scenario["global_scheduler"])
    return naive.simulate(knobs, Table(scenario["table"], stages), requests, scenario["num_replicas"], router), rows


def naive_request(row: dict[str, str]) -> naive.Request:
    """Returns a row as a request; its client allows as many tokens as it makes."""
    prompt, output = int(row["prefill_tokens"]), int(row["decode_tokens"])
    return naive.Request(int(row["id"]), float(row["arrived_at"]), prompt, output, max_new_tokens=output)


def times(run: naive.Run) -> dict[str, Any]:
    """Returns the columns that Vidur has, by name."""
    return {
        "scheduled_at": np.array([r.first_scheduled_at for r in run.requests]),
        "first_token_at": np.array([r.token_times[0] for r in run.requests]),
        "completed_at": np.array([r.token_times[-1] for r in run.requests]),
    }


@pytest.mark.parametrize("name", [*SHORT, *(pytest.param(name, marks=pytest.mark.slow) for name in LONG)])
def test_every_request_has_vidurs_times(name: str) -> None:
    run, rows = replayed(name)
    for column, found in times(run).items():
        np.testing.assert_allclose(found, [float(row[column]) for row in rows], rtol=0, atol=1e-6, err_msg=column)
    assert [r.replica for r in run.requests] == [int(row["replica"]) for row in rows]
    assert (sum(r.preemptions for r in run.requests) > 0) == ("preempt" in name)
