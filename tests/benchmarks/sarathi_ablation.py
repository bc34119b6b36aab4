"""Sarathi-Serve's ablation (arXiv 2403.02310, table 6): Yi-34B on two A100, hybrid batches, chunks, and both together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, median
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from search.service import run_simulation
from simulator.scenario import read
from tests.benchmarks.sarathi_pipeline import MEASURED

REQUESTS, SEEDS = 128, 9
MODES = ("hybrid_only", "chunked_only", "combined")
# P50 of TTFT and P99 of TBT in seconds.
PAPER = {
    "sharegpt": {"hybrid_only": (0.53, 0.68), "chunked_only": (1.04, 0.17), "combined": (0.76, 0.14)},
    "arxiv": {"hybrid_only": (3.78, 1.38), "chunked_only": (5.38, 0.20), "combined": (3.90, 0.17)},
}
RATE_RPS = {"sharegpt": 1.0, "arxiv": 0.5}
# Longest prompt and longest output, so that nothing is rejected; hybrid_only needs a budget that holds any prompt.
LONGEST = {"sharegpt": 9216, "arxiv": 20480}
CHUNKS = (512, 1024)
PERCENT = (0, 0.5, 1, 2.5, *range(5, 95, 5), 92.5, 95, 97.5, 99, 99.5, 99.9, 100)
# Of all 30,731 rows of microsoft/sarathi-serve, data/processed_traces/sharegpt_8k_filtered_stats_llama2_tokenizer.csv
# (Apache-2.0), linear in between.
SHAREGPT_PROMPT = (
    "1 9 12 18 29 74 180 382 580 777 973 1203 1457 1730 2060 2401 2799 3235 3735 4278 4918 5696 6106 6563 7056 7434 7622 7855 8141"
)
SHAREGPT_OUTPUT = "2 3 6 24 44 84 130 181 228 271 312 346 381 415 453 493 534 581 628 683 754 834 876 920 965 998 1010 1021 1024"
# Median and 90th percentile of the uncut arXiv set (Vidur, arXiv 2405.05465, table 1); the ablation leaves out requests
# of more than 16,384 tokens.
ARXIV_PROMPT, ARXIV_OUTPUT, ARXIV_CUT, ARXIV_MOST_OUTPUT = (7827, 18549), (228, 475), 16_384, 4096
COMMON = {
    "model": "01-ai/Yi-34B-200K",
    "device": "A100-80G-SXM",
    "tensor_parallel_size": 2,
    "scheduler": "sarathi_serve",
    "max_num_seqs": 128,
    "async_scheduling": False,
    "enable_prefix_caching": False,
    "cudagraph_mode": "NONE",
}


@dataclass(frozen=True)
class Spread:
    """The median over the seeds, and the least and the most."""

    middle: float
    low: float
    high: float


@dataclass(frozen=True)
class Latencies:
    """P50 of TTFT and P99 of TBT over the seeds."""

    ttft_p50_s: Spread
    tbt_p99_s: Spread


def lengths(name: str) -> dict[str, Any]:
    """Returns the token counts of a workload."""
    if name == "sharegpt":
        prompt, output = (
            {"percent": list(PERCENT), "tokens": [int(count) for count in of.split()]} for of in (SHAREGPT_PROMPT, SHAREGPT_OUTPUT)
        )
        return {"prompt_tokens": {"quantiles": prompt}, "output_tokens": {"quantiles": output}}
    percent = [0, *range(1, 100), 100]
    prompts = [cut_lognormal(max(each, 0.1) / 100) for each in percent]
    answer = {"median": ARXIV_OUTPUT[0], "sigma": sigma(*ARXIV_OUTPUT), "max": ARXIV_MOST_OUTPUT}
    return {"prompt_tokens": {"quantiles": {"percent": percent, "tokens": prompts}}, "output_tokens": {"lognormal": answer}}


def sigma(middle: float, p90: float) -> float:
    """Returns the sigma of the lognormal with this median and this 90th percentile."""
    return math.log(p90 / middle) / NormalDist().inv_cdf(0.9)


def cut_lognormal(u: float) -> int:
    """Returns the quantile `u` of arXiv's prompts of at most ARXIV_CUT tokens."""
    middle, width = ARXIV_PROMPT[0], sigma(*ARXIV_PROMPT)
    kept = NormalDist().cdf(math.log(ARXIV_CUT / middle) / width)
    return min(round(middle * math.exp(width * NormalDist().inv_cdf(u * kept))), ARXIV_CUT)


def latencies(name: str, mode: str, chunk: int, profiles: Sequence[Mapping[str, Any]] = MEASURED, seeds: int = SEEDS) -> Latencies:
    """Returns the latencies of a workload under one way of batching."""
    budget = LONGEST[name] if mode == "hybrid_only" else chunk
    knobs = {"max_model_len": LONGEST[name], "max_num_batched_tokens": budget, "scheduler_options": {"batching": mode}}
    workload = {**lengths(name), "rate_rps": RATE_RPS[name], "num_requests": REQUESTS}
    runs = [metrics({**COMMON, **knobs}, {**workload, "seed": seed}, profiles) for seed in range(seeds)]
    return Latencies(spread([run["ttft_s"]["p50"] for run in runs]), spread([run["itl_s"]["p99"] for run in runs]))


def alone(prompt: int, output: int, profiles: Sequence[Mapping[str, Any]] = MEASURED) -> dict[str, Any]:
    """Returns the metrics of one request that is alone: its TTFT is an iteration of the prompt, its TPOT one of a decode."""
    knobs = {"max_model_len": LONGEST["arxiv"], "max_num_batched_tokens": LONGEST["arxiv"]}
    workload = {"prompt_tokens": prompt, "output_tokens": output, "rate_rps": 1.0, "num_requests": 1}
    return metrics({**COMMON, **knobs}, workload, profiles)


def metrics(deployment: Mapping[str, Any], workload: Mapping[str, Any], profiles: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the metrics of a scenario, read from its file."""
    with TemporaryDirectory() as work:
        path = Path(work) / "scenario.yaml"
        path.write_text(yaml.safe_dump({"deployment": dict(deployment), "workload": dict(workload), "profiles": list(profiles)}))
        found: dict[str, Any] = run_simulation(read(path)).document["metrics"]
    assert found["rejected"] == 0, "every request fits"
    return found


def spread(values: Sequence[float]) -> Spread:
    """Returns median, least and most."""
    return Spread(median(values), min(values), max(values))
