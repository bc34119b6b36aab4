"""Stored rows as queries return them, made without a database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from db.rows import PointRow, StudyRow, TrialPoint, TrialRow
from simulator.resolve import resolve
from simulator.spec.deployment import Deployment

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
REQUEST: dict[str, Any] = {
    "name": "chat-8b",
    "model": "meta-llama/Llama-3.1-8B",
    "slo": {"itl_p99_s": 0.2, "ttft_p99_s": 2.0},
    "demand": None,
    "prices": "cloud-2026-11",
    "space": {"device": ["H100-SXM", "L40S"], "max_num_batched_tokens": [512, 2048]},
    "objectives": ["usd_per_million_output_tokens", "ttft_p99_s"],
}
BILL = {"instance": "p5.4xlarge", "provider": "AWS", "instances": 1, "gpus_rented": 1, "usd_per_hour": 6.88}
PROVENANCE = {
    "operators": {
        "qkv_proj": {"source": "aiconfigurator", "kind": "measured", "versions": {"aiconfigurator-core": "0.12.0"}, "points": {}},
        "rope": {"source": "roofline", "kind": "roofline", "versions": {}, "points": {}},
        "host_step": {"source": None, "kind": "absent", "versions": {}, "points": {}},
    },
    "notes": [],
}


def metrics(**changes: Any) -> dict[str, Any]:
    """Returns stored Metrics; each latency is the same at every statistic."""
    latencies = {"ttft_s": 0.5, "tpot_s": 0.02, "itl_s": 0.03, "itl_max_s": 0.1, "e2e_s": 4.0, "queue_s": 0.01}
    made: dict[str, Any] = {
        name: dict.fromkeys(("mean", "p50", "p90", "p95", "p99", "max"), changes.pop(name, value))
        for name, value in latencies.items()
    }
    return made | {
        "requests": 1000,
        "rejected": 0,
        "single_token_requests": 3,
        "duration_s": 100.0,
        "request_throughput_rps": 10.0,
        "output_token_throughput_tps": 2500.0,
        "total_token_throughput_tps": 9000.0,
        "goodput_rps": 9.5,
        "slo_met": True,
        "iterations": 5000,
        "mean_batch_size": 12.5,
        "preemptions": 0,
        "kv_blocks": 27000,
        "kv_utilization": 0.25,
        "mfu": 0.123,
        "gpus": 1,
        "usd_per_hour": 6.88,
        "usd_per_million_output_tokens": 0.7,
        "usd_per_million_tokens": 0.2,
        **changes,
    }


@pytest.fixture
def measured() -> Callable[..., dict[str, Any]]:
    """Returns a maker of stored Metrics."""
    return metrics


@pytest.fixture
def study() -> Callable[..., StudyRow]:
    """Returns a maker of studies; what is given beside a row's fields changes the request."""

    def make(state: str = "done", summary: dict[str, Any] | None = None, **request: Any) -> StudyRow:
        return StudyRow(
            id="s-1",
            name="chat-8b",
            digest="d0",
            state=state,  # type: ignore[arg-type]
            request={**REQUEST, **request},
            seed=7,
            versions={"trimtab": "1"},
            kernel_digest="k0",
            summary=summary,
            created_at=NOON,
            started_at=NOON,
            finished_at=None,
        )

    return make


@pytest.fixture
def trial() -> Callable[..., TrialRow]:
    """Returns a maker of trials that differ in their number, their knobs and what is given."""

    def make(number: int = 0, knobs: dict[str, Any] | None = None, **given: Any) -> TrialRow:
        chosen = {"model": REQUEST["model"], "device": "H100-SXM", "max_num_batched_tokens": 2048, **(knobs or {})}
        deployment = resolve(Deployment.parse(chosen)).model_dump(mode="json")
        capacity = {"capacity_rps": 12.3, "capacity_low_rps": 12.1, "capacity_high_rps": 12.5, "capacity_level": 0.95}
        at_capacity = {"rate_rps": 12.3, "metrics": metrics(ttft_s=1.98)}
        scored = {**capacity, "saturated_rps": 14.0, "binding": "ttft_p99_s", "curve": [at_capacity], "bill": BILL}
        stored = {"id": 100 + number, "study_id": "s-1", "number": number, "created_at": NOON, "updated_at": NOON}
        fixed = {"key": f"k{number}", "state": "done", "deployment": deployment, "kernel_digest": "k0", "seed": 7}
        return TrialRow(**{**fixed, **scored, "provenance": PROVENANCE, "fidelity": 200_000, **stored, **given})

    return make


@pytest.fixture
def point() -> Callable[..., TrialPoint]:
    """Returns a maker of frontier points of a trial."""

    def make(trial: TrialRow, rank: int = 1, usd: float | None = 0.7, rate_rps: float = 12.3, **given: Any) -> TrialPoint:
        measured = metrics(ttft_s=given.pop("ttft", 0.5), usd_per_million_output_tokens=usd)
        objectives = {"ttft_p99_s": 0.5, "usd_per_million_output_tokens": usd}
        fixed = {"metrics": measured, "objectives": objectives, "on_frontier": True, "rank": rank}
        row = PointRow(**{"rate_rps": rate_rps, **fixed, "id": rank, "study_id": "s-1", "trial_id": trial.id, **given})
        return TrialPoint(row, trial)

    return make
