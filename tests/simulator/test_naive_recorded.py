"""The oracle is right: it decides what vLLM 0.19.0's own scheduler was recorded to decide, row by row and to the nanosecond.

The recordings lie outside the repository (`vllm-scheduler` in the data folder); without them nothing here runs.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

import pytest

from tests import naive
from tests.shared import data_dir

SCENARIOS = (
    "s01-low-load",
    "s02-saturation-seqs",
    "s03-kv-exhaust",
    "s04-kv-noreserve",
    "s05-tiny-blocks",
    "s06-budget-256",
    "s07-long-prefill",
    "s08-prefix-shared",
    "s09-prefix-evict",
    "s10-priority",
    "s11-async",
)
LIMITS = ("max_num_batched_tokens", "max_num_seqs", "block_size", "max_model_len", "long_prefill_token_threshold")
NANOSECOND = 1e-9


def rows(name: str, part: str) -> list[dict[str, str]]:
    """Returns the rows of a recorded table."""
    with gzip.open(data_dir("vllm-scheduler") / f"{name}.{part}.csv.gz", "rt", newline="") as file:
        return list(csv.DictReader(file))


def numbers(text: str) -> list[int]:
    """Returns numbers of ranges: "0-3 17" is 0, 1, 2, 3, 17."""
    spans = [(part.split("-") * 2)[:2] for part in text.split()]
    return list(chain.from_iterable(range(int(first), int(last) + 1) for first, last in spans))


def about(name: str) -> dict[str, Any]:
    """Returns a scenario's configuration, cost model and totals; skips the test where there are no recordings."""
    return dict(json.loads((data_dir("vllm-scheduler") / f"{name}.json").read_text()))


def replayed(name: str) -> naive.Run:
    """Returns the oracle's run of a scenario."""
    recorded = about(name)
    config, cost = recorded["config"], recorded["cost_model"]

    def seconds(work: Sequence[naive.Work], sampled: int) -> list[float]:
        tokens, kv = sum(w.tokens for w in work), sum(w.before + w.tokens for w in work)
        return [(cost["base_ns"] + cost["per_token_ns"] * tokens + cost["per_kv_token_ns"] * kv) * NANOSECOND]

    knobs = naive.Knobs(
        scheduler="vllm_v1",
        **{limit: config[limit] for limit in LIMITS},
        kv_blocks=recorded["usable_blocks"],
        reserve_full_isl=config["scheduler_reserve_full_isl"],
        by_priority=config["policy"] == "priority",
        asynchronous=config["async_scheduling"],
        prefix_caching=config["enable_prefix_caching"],
    )
    requests = [
        naive.Request(
            number=int(row["request_id"]),
            arrived_at=float(row["arrived_at"]),
            prompt=int(row["num_prefill_tokens"]),
            output=int(row["num_decode_tokens"]),
            priority=int(row["priority"] or 0),
            content=numbers(row["block_ids"]) if "block_ids" in row else None,
        )
        for row in rows(name, "requests")
    ]
    return naive.simulate(knobs, seconds, requests)


def pairs(values: Sequence[tuple[int, int]]) -> str:
    """Returns pairs as the recordings write them."""
    return ";".join(f"{request}:{amount}" for request, amount in values)


def step_row(step: naive.Step) -> dict[str, Any]:
    """Returns a step as a recorded row, times apart."""
    return {
        "tokens": str(step.tokens),
        "kv_tokens": str(step.kv_tokens),
        "scheduled": pairs(step.scheduled),
        "admitted": pairs(step.admitted),
        "preempted": ";".join(map(str, step.preempted)),
        "num_running": str(step.num_running),
        "num_waiting": str(step.num_waiting),
        "free_blocks": str(step.free_blocks),
        "finished": ";".join(map(str, step.finished)),
    }


def check_steps(found: Sequence[naive.Step], expected: Sequence[dict[str, str]]) -> None:
    """Raises unless every step is the recorded one."""
    for number, (step, row) in enumerate(zip(found, expected, strict=False)):
        decided = step_row(step)
        assert decided == {name: row[name] for name in decided}, f"step {number}"
        for name in ("sched_s", "start_s", "end_s"):
            assert abs(getattr(step, name) - float(row[name])) < NANOSECOND, f"step {number}: {name}"
    assert len(found) == len(expected)


def check_requests(found: Sequence[naive.Request], expected: Sequence[dict[str, str]]) -> None:
    """Raises unless every request fared as recorded."""
    for request, row in zip(found, expected, strict=True):
        times = {
            "first_scheduled_s": request.first_scheduled_at,
            "first_token_s": request.token_times[0],
            "finished_s": request.token_times[-1],
        }
        for name, at in times.items():
            assert abs(at - float(row[name])) < NANOSECOND, f"request {request.number}: {name}"
        counts = {"preemptions": request.preemptions, "cached_tokens": request.cached}
        assert counts == {name: int(row[name] or 0) for name in counts}, f"request {request.number}"
        assert len(request.token_times) == request.output and request.finished


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_recorded_step_and_request_is_reproduced(name: str) -> None:
    run = replayed(name)
    check_steps(run.replicas[0].steps, rows(name, "steps"))
    check_requests(run.requests, rows(name, "requests"))
    assert run.replicas[0].free_blocks == run.replicas[0].knobs.kv_blocks


def test_another_decision_is_seen() -> None:
    run, expected = replayed("s08-prefix-shared"), rows("s08-prefix-shared", "steps")
    place = next(place for place, row in enumerate(expected) if re.search(r":[1-9]", row["admitted"]))
    expected[place]["admitted"] = re.sub(r":[1-9]\d*", ":16", expected[place]["admitted"])
    with pytest.raises(AssertionError, match=f"step {place}"):
        check_steps(run.replicas[0].steps, expected)
