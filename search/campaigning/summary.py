"""What came of a campaign, from its folder alone: ceilings, profiles, checks, host steps, and the errors of the simulator."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from search.agreement import agreement
from search.campaigning import record as records
from simulator.errors import InputError

# Below capacity errors of latencies are told; at capacity, where a queue makes any error large, the rate that is sustained.
BELOW, AT = 0.8, 1.0
LATENCIES = ("ttft_mean_s", "ttft_p50_s", "ttft_p99_s", "tpot_mean_s", "tpot_p50_s", "tpot_p99_s")
RATE = "request_throughput_rps"
RANKED = ("ttft_p50_s", "tpot_mean_s", "e2e_p50_s")
# By what only their documents have: the commands that items are.
CEILINGS, PROFILE, HOST = "copy_bytes_per_s", "points_before", "sequences_s"


def summarize(out: Path) -> dict[str, Any]:
    """Returns the summary of a campaign's folder; raises InputError for a folder without one."""
    record = records.read(out)
    if record is None:
        raise InputError("--out", str(out), "a folder in which `trimtab campaign run` has begun")
    entries = record["items"]
    answers = {name: found for name in entries if (found := _json(out / "results" / f"{name}.json")) is not None}
    deployments = [found for name in entries if (found := _deployment(name, out)) is not None]
    return {
        "campaign": record["campaign"],
        "device": record["device"],
        "parts": record["parts"],
        "days": sorted({entry["changed_at"][:10] for entry in entries.values() if entry["changed_at"]}),
        "failed": {name: entry["reason"] for name, entry in entries.items() if entry["state"] == "failed"},
        "ceilings": next((answer for answer in answers.values() if CEILINGS in answer), None),
        "profiles": [{**each, "path": Path(each["path"]).name} for each in answers.values() if PROFILE in each],
        "host_steps": [{**each, "path": Path(each["path"]).name} for each in answers.values() if HOST in each],
        "checks": [each for answer in answers.values() for each in answer.get("items", ()) if "told" in each],
        "validations": {
            "deployments": deployments,
            "latencies": _errors(deployments, LATENCIES, [load for load in _loads(deployments) if load <= BELOW]),
            "rate": _errors(deployments, (RATE,), [AT]),
            "agreement": _agreements(deployments),
        },
    }


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _deployment(name: str, out: Path) -> dict[str, Any] | None:
    told = _json(out / "validations" / f"{name}.json")
    if told is None:
        return None
    fields = ("deployment", "workload", "requests", "saturated_rps", "sources", "items")
    return {"name": name, **{field: told[field] for field in fields}}


def _loads(deployments: Sequence[Mapping[str, Any]]) -> list[float]:
    return sorted({each["load"] for deployment in deployments for each in deployment["items"]})


def _good(deployments: Iterable[Mapping[str, Any]], load: float) -> list[Mapping[str, Any]]:
    return [each for deployment in deployments for each in deployment["items"] if each["load"] == load and not each["fault"]]


def _errors(
    deployments: Sequence[Mapping[str, Any]], metrics: Sequence[str], loads: Sequence[float]
) -> dict[str, dict[str, float]]:
    """Returns by metric, over the deployments and loads: n; median, mean and p90 of absolute errors; bias, the signed median."""
    found = {}
    for metric in metrics:
        good = [each["errors"] for load in loads for each in _good(deployments, load)]
        signed = np.array([errors[metric] for errors in good if metric in errors])
        if len(signed):
            size = np.abs(signed)
            figures = (len(signed), np.median(size), size.mean(), np.quantile(size, 0.9), np.median(signed))
            found[metric] = dict(zip(("n", "median", "mean", "p90", "bias"), map(float, figures), strict=True))
    return found


def _agreements(deployments: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns how the orders agree: of latencies at each load, of rates at the highest one up to capacity."""
    found = []
    for load in _loads(deployments):
        for metric in (*RANKED, *((RATE,) if load == AT else ())):
            pairs = [(value_of(each["measured"], metric), value_of(each["simulated"], metric)) for each in _good(deployments, load)]
            both = [(real, ours) for real, ours in pairs if real is not None and ours is not None]
            of = agreement([real for real, _ in both], [ours for _, ours in both], smaller=metric != RATE)
            found.append({"load": load, "metric": metric, "deployments": of.deployments, "spearman": of.spearman,
                          "kendall": of.kendall, "regret": of.regret})  # fmt: skip
    return found


def value_of(metrics: Mapping[str, Any], metric: str) -> float | None:
    """Returns a metric such as ttft_p50_s, or a rate, of a document of metrics."""
    value = metrics.get(metric)
    if value is None:
        name, _, statistic = metric.removesuffix("_s").rpartition("_")
        value = (metrics.get(f"{name}_s") or {}).get(statistic)
    return None if value is None else float(value)
