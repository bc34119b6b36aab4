"""Vidur's recorded runs beside ours, through `trimtab simulate`: `python -m tests.benchmarks.vidur` writes the table.

The recordings (`vidur-reference` in the data folder) hold 21 scenarios with the requests, the operator times and what
Vidur made of them. Each becomes a scenario file, a trace and one table of operator times; nothing else is priced.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import yaml

from search import cli
from tests.shared import REPOSITORY, data_dir

OUT = REPOSITORY / "docs" / "accuracy" / "vidur.md"
SCHEDULERS = {"sarathi": "sarathi_serve", "vllm": "vllm_v0"}
ROUTERS = {"round_robin": "round_robin", "lor": "least_waiting"}
DEVICES = {"a100": "A100-80G-SXM", "h100": "H100-SXM", "a40": "A40"}
STATISTICS = ("mean", "p50", "p90", "p99")
TIMES = {"first_token_s": "first_token_at", "finished_s": "completed_at"}
EXACT_S = 1e-6
# Vidur's rule that policies here have as an option alone; it shows where requests are preempted.
SPARE_BLOCK = {"spare_block": True}
RULE = "in Vidur a decode asks for a free block even when its last one has room, and preempts for it"


@dataclass(frozen=True, eq=False)
class Compared:
    """One scenario: relative deviations by statistic, seconds between the times of a request, and how many differ."""

    about: Mapping[str, Any]
    options: Mapping[str, Any]
    requests: int
    preemptions: int
    recorded_preemptions: int
    deviations: dict[str, float]
    apart_s: float
    apart: int

    @property
    def worst(self) -> tuple[str, float]:
        """The statistic with the largest deviation."""
        return max(self.deviations.items(), key=lambda item: abs(item[1]))

    @property
    def limit(self) -> float:
        """The deviation that is allowed: where requests are preempted, runs part ways."""
        return 0.05 if self.recorded_preemptions else 0.02

    @property
    def name(self) -> str:
        """The scenario's number."""
        return str(self.about["id"]).partition("_")[0]


def scenarios(folder: Path) -> list[dict[str, Any]]:
    """Returns the recorded scenarios."""
    found: list[dict[str, Any]] = json.loads((folder / "scenarios.json").read_text())
    return found


def compare(folder: Path, about: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> Compared:
    """Returns a scenario's run, with these options of the scheduler, beside the recorded one."""
    options = dict(options or {})
    record = json.loads((folder / "scenarios" / f"{about['id']}.record.json").read_text())["results"]
    with gzip.open(folder / "scenarios" / f"{about['id']}.requests.csv.gz", "rt") as file:
        rows = pd.read_csv(file, dtype=str)
    with TemporaryDirectory() as work:
        scenario = {**deployment(about, record), "scheduler_options": options}
        document, found = simulated(Path(work), folder, about["table"], scenario, rows)
    deviations = {
        f"{metric} {statistic}": document["metrics"][f"{metric}_s"][statistic] / record[f"{metric}_s"][statistic] - 1
        for metric in ("ttft", "e2e")
        for statistic in STATISTICS
    }
    deviations["makespan"] = float(found["finished_s"].max()) / record["makespan_s"] - 1
    apart = np.array([np.abs(found[ours] - rows[theirs].astype(float)) for ours, theirs in TIMES.items()])
    printed = np.array([rows[theirs].map(half_a_digit) for theirs in TIMES.values()])
    return Compared(
        about=about,
        options=options,
        requests=len(rows),
        preemptions=document["metrics"]["preemptions"],
        recorded_preemptions=record["num_restarts"],
        deviations=deviations,
        apart_s=float(apart.max()),
        apart=int((apart > np.maximum(EXACT_S, printed)).any(axis=0).sum()),
    )


def half_a_digit(text: str) -> float:
    """Returns half of the last printed digit of a time, a little more for rounding."""
    mantissa, _, exponent = text.partition("e")
    return 0.51 * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


def simulated(
    work: Path, folder: Path, table: str, deployed: Mapping[str, Any], rows: pd.DataFrame
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Returns the document and the rows of `trimtab simulate` on a scenario whose files it writes into `work`."""
    trace = rows.rename(columns={"prefill_tokens": "num_prefill_tokens", "decode_tokens": "num_decode_tokens"})
    trace[["arrived_at", "num_prefill_tokens", "num_decode_tokens"]].to_csv(work / "requests.csv", index=False)
    profile = {"source": "vidur_tables", "path": str(folder / "tables" / f"{table}.npz")}
    scenario = {"deployment": dict(deployed), "workload": {"trace": "requests.csv"}, "profiles": [profile]}
    (work / "scenario.yaml").write_text(yaml.safe_dump(scenario))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = cli.main(["simulate", str(work / "scenario.yaml"), "--json", "--requests", str(work / "out.csv")])
    assert status == 0, f"exit status {status}"
    document: dict[str, Any] = json.loads(printed.getvalue())
    return document, pd.read_csv(work / "out.csv")


def deployment(about: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the deployment of a recorded scenario."""
    replica, policy, workload = about["replica"], about["scheduler"], about["workload"]
    seats = policy.get("batch_size_cap", 128)
    if policy["type"] in ("orca", "faster_transformer"):
        seats = min(seats, record["max_batch_size_attr"] * replica["num_pipeline_stages"])
    return {
        "model": replica["model_name"],
        "device": DEVICES[replica["device"]],
        "tensor_parallel_size": replica["tensor_parallel_size"],
        "pipeline_parallel_size": replica["num_pipeline_stages"],
        "replicas": about["num_replicas"],
        "router": ROUTERS[about["global_scheduler"]],
        "scheduler": SCHEDULERS.get(policy["type"], policy["type"]),
        "max_num_batched_tokens": policy.get("chunk_size", policy.get("max_tokens_in_batch", 4096)),
        "max_num_seqs": seats,
        "max_model_len": workload.get("length", workload)["max_tokens"],
        "block_size": record["block_size"],
        "num_gpu_blocks_override": record["num_kv_blocks"],
        "async_scheduling": False,
        "enable_prefix_caching": False,
    }


# The table


def page(found: Sequence[Compared], explained: Sequence[Compared]) -> str:
    """Returns the page, in Markdown; `explained` are those that differ, run with Vidur's rule."""
    return "\n".join([*HEAD, *map(line, found), "", *differences(explained)])


HEAD = (
    "# Beside Vidur",
    "",
    "Vidur (arXiv 2405.05465) on 21 scenarios, and Trimtab on the same requests and the same operator times, through",
    "`trimtab simulate` with `profiles: [{source: vidur_tables, path: ...}]`. `python -m tests.benchmarks.vidur` writes this",
    "page from the recordings.",
    "",
    "*deviation* is the largest relative one among mean, p50, p90 and p99 of TTFT and E2E and the makespan; percentiles here",
    "are nearest-rank and Vidur's are interpolated, which is all of the deviation where no request is apart. *apart* counts",
    f"the requests whose first token or finish differs by more than {EXACT_S:g} s (or half of the last digit that was",
    "recorded), and *by* is the largest difference.",
    "",
    "| scenario | scheduler | router | GPUs | requests | preempted (Vidur) | deviation | of | apart | by |",
    "|---|---|---|---|---:|---:|---:|---|---:|---:|",
)


def line(found: Compared) -> str:
    """Returns a scenario's row."""
    about, replica = found.about, found.about["replica"]
    gpus = f"{about['num_replicas']} x {replica['device']} TP{replica['tensor_parallel_size']} PP{replica['num_pipeline_stages']}"
    statistic, value = found.worst
    cells = (
        found.name,
        SCHEDULERS.get(about["scheduler"]["type"], about["scheduler"]["type"]),
        ROUTERS[about["global_scheduler"]],
        gpus,
        f"{found.requests:,}",
        f"{found.preemptions} ({found.recorded_preemptions})",
        f"{100 * value:+.2f} %",
        statistic,
        f"{found.apart:,}",
        f"{found.apart_s:.1e} s",
    )
    return f"| {' | '.join(cells)} |"


def differences(explained: Sequence[Compared]) -> Iterator[str]:
    """Yields what makes the scenarios differ, with the proof."""
    yield "## What makes the differences"
    yield ""
    for one in explained:
        yield (
            f"- {one.name}: {RULE}. With `scheduler_options: {{spare_block: true}}` there are {one.preemptions} preemptions "
            f"({one.recorded_preemptions}) and {one.apart} requests apart, by at most {one.apart_s:.1e} s."
        )
    yield (
        "- Vidur's least-outstanding router counts waiting requests alone: its scenarios are run with `least_waiting`; "
        "`least_outstanding` here counts running ones too."
    )
    yield (
        "- None of these scenarios shows two more rules of Vidur's that are not here: a preempted part-done prompt counts "
        "what it had not computed as output; FasterTransformer never returns the slots of requests that end before their batch."
    )
    yield ""


def main() -> None:
    """Compares all scenarios and writes the page."""
    folder = data_dir("vidur-reference")
    found, explained = [], []
    for about in scenarios(folder):
        found.append(compare(folder, about))
        print(line(found[-1]), flush=True)
        if found[-1].apart:
            explained.append(compare(folder, about, SPARE_BLOCK))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(page(found, explained), encoding="utf-8")


if __name__ == "__main__":
    main()
