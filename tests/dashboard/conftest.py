"""Studies as the store returns them: a small queueing model stands in for the simulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from db.rows import PointRow, StudyRow, TrialPoint, TrialRow
from simulator import catalog
from simulator.resolve import resolve
from simulator.spec.deployment import Deployment, Resolved

NOW = datetime(2026, 11, 22, 15, 30, tzinfo=UTC)
MODEL = "meta-llama/Llama-3.1-8B"
SPEED = {"H100-SXM": 1.0, "A100-80G-SXM": 0.52, "L40S": 0.3}
BEAT_S = {"H100-SXM": 0.011, "A100-80G-SXM": 0.017, "L40S": 0.031}
SLO = {"itl_p99_s": 0.2, "ttft_p99_s": 2.0}
OUTPUT_TOKENS, ALL_TOKENS = 240, 1240
OPERATORS = (
    "attn_decode",
    "attn_prefill",
    "attn_output",
    "mlp_down",
    "mlp_up_gate",
    "qkv",
    "all_reduce",
    "lm_head",
    "host_overhead",
)


@dataclass
class Stored:
    """What the store holds of one study."""

    study: StudyRow
    trials: list[TrialRow]
    points: list[TrialPoint]


def distribution(middle: float) -> dict[str, float]:
    """Returns a latency's statistics around its median."""
    factors = {"mean": 1.15, "p50": 1.0, "p90": 1.9, "p95": 2.6, "p99": 4.2, "max": 7.5}
    return {name: middle * factor for name, factor in factors.items()}


def metrics_at(deployment: Resolved, rate: float, saturated: float, usd_per_hour: float) -> dict[str, Any]:
    """Returns Metrics of a fleet at a rate below its saturated rate."""
    load = min(rate / saturated, 0.995)
    beat = BEAT_S[deployment.device] / deployment.tensor_parallel_size**0.6
    chunk = deployment.max_num_batched_tokens / 2048
    ttft = 0.05 * chunk**-0.2 / SPEED[deployment.device] * (1 + load**3 / (1 - load))
    itl = beat * (1 + 1.5 * load + 0.8 * chunk * load**4)
    e2e = ttft + OUTPUT_TOKENS * itl
    tokens = rate * OUTPUT_TOKENS
    return {
        "ttft_s": distribution(ttft),
        "tpot_s": distribution(itl * 0.9),
        "itl_s": distribution(itl),
        "itl_max_s": distribution(itl * 3),
        "e2e_s": distribution(e2e),
        "queue_s": distribution(ttft * 0.4),
        "requests": 20_000,
        "rejected": 0,
        "single_token_requests": 12,
        "duration_s": 20_000 / rate,
        "request_throughput_rps": rate,
        "output_token_throughput_tps": tokens,
        "total_token_throughput_tps": rate * ALL_TOKENS,
        "goodput_rps": rate * 0.985,
        "slo_met": 4.2 * ttft <= SLO["ttft_p99_s"] and 4.2 * itl <= SLO["itl_p99_s"],
        "iterations": 90_000,
        "mean_batch_size": 4 + 200 * load,
        "preemptions": 0,
        "kv_blocks": 27_000,
        "kv_utilization": 0.9 * load,
        "mfu": 0.41 * load,
        "gpus": deployment.gpus,
        "usd_per_hour": usd_per_hour,
        "usd_per_million_output_tokens": usd_per_hour / 3600 / tokens * 1e6,
        "usd_per_million_tokens": usd_per_hour / 3600 / (rate * ALL_TOKENS) * 1e6,
    }


def saturated_rate(deployment: Resolved) -> float:
    """Returns the saturated rate of the whole fleet."""
    chunk = 0.9 + 0.1 * min(deployment.max_num_batched_tokens, 4096) / 4096
    scheduler = 1.0 if deployment.scheduler == "vllm_v1" else 0.955
    one: float = 22 * SPEED[deployment.device] * deployment.tensor_parallel_size**0.9 * chunk * scheduler
    return one * deployment.replicas


def capacity(deployment: Resolved, saturated: float) -> tuple[float, str]:
    """Returns the highest rate within the SLO and the bound that ends it."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if metrics_at(deployment, middle * saturated, saturated, 1.0)["slo_met"] else (low, middle)
    beyond = metrics_at(deployment, high * saturated * 1.01, saturated, 1.0)
    return low * saturated, "ttft_p99_s" if beyond["ttft_s"]["p99"] > SLO["ttft_p99_s"] else "itl_p99_s"


def provenance(device: str) -> dict[str, Any]:
    """Returns operators measured on H100, partly so on A100, and by the roofline elsewhere."""
    kinds = {"H100-SXM": {"measured": 30, "interpolated": 370}, "A100-80G-SXM": {"interpolated": 250, "extrapolated": 150}}
    points = kinds.get(device, {"roofline": 400})
    kind = max(points, key=lambda name: points[name])
    source = "roofline" if kind == "roofline" else "aiconfigurator"
    versions = {} if kind == "roofline" else {"aiconfigurator-core": "0.12.0", "vllm": "0.14.0"}
    found = {name: {"source": source, "kind": kind, "versions": versions, "points": points} for name in OPERATORS[:-1]}
    return {"operators": {**found, OPERATORS[-1]: {"source": None, "kind": "absent", "versions": {}, "points": {}}}}


def request(demand: float | None) -> dict[str, Any]:
    """Returns a search request as it is stored."""
    return {
        "name": "chat-8b",
        "model": MODEL,
        "engine": "vllm-0.19",
        "workload": {"preset": "chat", "trace": None, "prompt_tokens": None, "output_tokens": None, "seed": 0},
        "slo": SLO,
        "demand": None if demand is None else {"rate_rps": demand},
        "prices": "cloud-2026-11",
        "profiles": None,
        "space": {"device": list(SPEED), "tensor_parallel_size": [1, 2], "max_num_batched_tokens": [512, 2048, 8192]},
        "objectives": ["usd_per_million_output_tokens", "ttft_p99_s"],
        "budget": {"max_gpus": 16, "trials": 300},
        "sampler": "auto",
        "seed": 0,
    }


def make_study(demand: float | None = None, **given: Any) -> StudyRow:
    """Returns a finished study, with fields replaced by those given."""
    stored: dict[str, Any] = {
        "id": "s-1a2b3c4d",
        "name": "chat-8b",
        "digest": "9f2c" * 16,
        "state": "done",
        "request": request(demand),
        "seed": 0,
        "versions": {"trimtab": "0.1.0", "python": "3.11.7", "numpy": "2.4.6", "numba": "0.68.1"},
        "kernel_digest": "51d0c8e2a7b94f36",
        "summary": None,
        "created_at": NOW,
        "started_at": NOW,
        "finished_at": NOW,
    }
    return StudyRow(**{**stored, **given})


def make_trial(number: int, deployment: Resolved, **given: Any) -> TrialRow:
    """Returns a trial scored at 20,000 requests a run, with fields replaced by those given."""
    saturated = saturated_rate(deployment)
    value, binding = capacity(deployment, saturated)
    bill = catalog.price_book("cloud-2026-11").bill(deployment.device, deployment.gpus_per_replica, deployment.replicas)
    assert bill is not None
    rates = sorted([*(saturated * share / 10 for share in range(1, 10)), saturated * 0.95, value])
    stored: dict[str, Any] = {
        "id": 100 + number,
        "study_id": "s-1a2b3c4d",
        "number": number,
        "created_at": NOW,
        "updated_at": NOW,
        "key": f"deployment-{number}",
        "state": "done",
        "deployment": deployment.model_dump(mode="json"),
        "kernel_digest": "51d0c8e2a7b94f36",
        "seed": 0,
        "fidelity": 20_000,
        "capacity_rps": value,
        "capacity_low_rps": value * 0.97,
        "capacity_high_rps": value * 1.03,
        "capacity_level": 0.95,
        "binding": binding,
        "curve": [{"rate_rps": rate, "metrics": metrics_at(deployment, rate, saturated, bill.usd_per_hour)} for rate in rates],
        "provenance": provenance(deployment.device),
        "bill": bill.model_dump(mode="json"),
        "saturated_rps": saturated,
    }
    return TrialRow(**{**stored, **given})


def deployments(demand: float | None) -> list[Resolved]:
    """Returns the deployments tried, sized for a demand if there is one."""
    found = []
    for device in SPEED:
        for tensor in (1, 2):
            for scheduler in ("vllm_v1", "sarathi_serve"):
                for tokens in (512, 2048, 8192):
                    chosen = {
                        "device": device,
                        "tensor_parallel_size": tensor,
                        "scheduler": scheduler,
                        "max_num_batched_tokens": tokens,
                    }
                    one = resolve(Deployment.parse({"model": MODEL, "max_num_seqs": 256, "max_model_len": 8192, **chosen}))
                    replicas = 1
                    while demand and capacity(one, saturated_rate(one.with_replicas(replicas)))[0] < demand:
                        replicas += 1
                    found.append(one.with_replicas(replicas))
    return found


def make_points(trials: list[TrialRow]) -> list[TrialPoint]:
    """Returns the operating points within the SLO, the frontier of price and TTFT p99 marked and ranked, its start tied."""
    rows = [(trial, item) for trial in trials for item in trial.curve if item["metrics"]["slo_met"]]
    names = ("usd_per_million_output_tokens", "ttft_p99_s")
    values = [(item["metrics"][names[0]], item["metrics"]["ttft_s"]["p99"]) for _, item in rows]
    front = [not any(c <= a and d <= b and (c < a or d < b) for c, d in values) for a, b in values]
    order = sorted((i for i, member in enumerate(front) if member), key=lambda i: values[i])
    most = values[order[0]][0] * (1.06 if trials[0].capacity_rps else 1.0)
    found = []
    for index, (trial, item) in enumerate(rows):
        point = PointRow(
            id=1000 + index,
            study_id=trial.study_id,
            trial_id=trial.id,
            rate_rps=item["rate_rps"],
            metrics=item["metrics"],
            objectives=dict(zip(names, values[index], strict=True)),
            on_frontier=front[index],
            rank=order.index(index) + 1 if front[index] else None,
            tied=front[index] and values[index][0] <= most,
        )
        found.append(TrialPoint(point, trial))
    return found


def make_stored(demand: float | None = None) -> Stored:
    """Returns a study of 36 deployments and six that are ruled out, at its own capacities or sized for a demand."""
    sized = SIZED if demand else {}
    trials = [make_trial(number, deployment, **sized) for number, deployment in enumerate(deployments(demand))]
    if demand:
        trials = [at_demand(trial, demand) for trial in trials]
    wide = [d.model_copy(update={"max_model_len": 131_072, "replicas": 1}) for d in deployments(None) if d.device == "L40S"]
    reason = "a request of max_model_len (131,072) needs 8,192 blocks of the KV cache, and there are 1,911"
    for index, deployment in enumerate(wide[:6]):
        told = reason if index < 5 else "ttft_p99_s is 2.641 s even at 0.061 requests a second, over its limit of 2 s"
        trials.append(make_trial(len(trials), deployment, state="infeasible", reason=told, **NO_ANSWER))
    summary = {
        "sampler": "enumerate: all 36 legal of 72 combinations",
        "executor": "threads on 2 cores",
        "notes": [],
        "dropped": DROPPED,
    }
    return Stored(make_study(demand, summary=summary), trials, make_points(trials))


def at_demand(trial: TrialRow, demand: float) -> TrialRow:
    """Returns a sized fleet's trial with its one operating point and the bound that more load breaks first."""
    deployment = Resolved.parse(trial.deployment)
    assert trial.bill is not None
    measured = metrics_at(deployment, demand, saturated_rate(deployment), trial.bill["usd_per_hour"])
    nearest = max(SLO, key=lambda term: measured[f"{term.split('_')[0]}_s"]["p99"] / SLO[term])
    return replace(trial, curve=[{"rate_rps": demand, "metrics": measured}], binding=nearest)


DROPPED = {"space.tensor_parallel_size: 16 is not allowed; allowed: 1 to 8 (GPUs of one L40S node)": 36}
CAPACITY = ("capacity_rps", "capacity_low_rps", "capacity_high_rps", "capacity_level", "saturated_rps")
SIZED: dict[str, Any] = dict.fromkeys(CAPACITY)
NO_ANSWER: dict[str, Any] = {**SIZED, "binding": None, "curve": [], "bill": None}


@pytest.fixture(scope="session")
def stored() -> Stored:
    """Returns a study without a demand: every deployment has a curve, the frontier shows load against latency."""
    return make_stored()


@pytest.fixture(scope="session")
def sized() -> Stored:
    """Returns a study sized for 40 requests a second."""
    return make_stored(40.0)


@pytest.fixture
def study() -> Callable[..., StudyRow]:
    """Returns a maker of studies that differ in what is given."""
    return make_study


@pytest.fixture
def trial() -> Callable[..., TrialRow]:
    """Returns a maker of trials on one H100 that differ in their number and in what is given."""
    deployment = resolve(Deployment.parse({"model": MODEL, "device": "H100-SXM", "max_model_len": 8192}))

    def make(number: int = 0, **given: Any) -> TrialRow:
        return make_trial(number, deployment, **given)

    return make
