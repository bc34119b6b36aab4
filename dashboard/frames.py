"""Stored rows as the DataFrames that figures draw; text columns are escaped for Plotly's HTML subset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from dashboard.axis import Axis
from dashboard.figures.theme import LIGHT
from dashboard.words import deployment_title, differing, in_order, knob, knobs, number, rent, seconds, spoken, usd
from db.rows import TrialPoint, TrialRow

LATENCIES = ("ttft", "tpot", "itl", "e2e", "queue")
STATISTICS = ("mean", "p50", "p90", "p95", "p99")
DOLLARS = ("usd_per_million_output_tokens", "usd_per_million_tokens", "usd_per_hour")
_TOLD = ("ttft_p50_s", "ttft_p99_s", "itl_p99_s", "tpot_p99_s", "e2e_p99_s")
_KNOBS_A_LINE = 3
_FIXED = ("point", "trial", "device", "scheduler", "title", "rate_rps", "on_frontier", "place", "tied", "within_slo", "hover")


def latency(metrics: Mapping[str, Any] | None, name: str) -> float | None:
    """Returns the statistic `ttft_p99_s` and the like of stored Metrics, or None where it was not measured."""
    kind, statistic, _ = name.split("_")
    value = ((metrics or {}).get(f"{kind}_s") or {}).get(statistic)
    return None if value is None else float(value)


def latencies(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """Returns every latency statistic of stored Metrics by its name, in seconds."""
    names = [f"{kind}_{statistic}_s" for kind in LATENCIES for statistic in STATISTICS]
    return {name: latency(metrics, name) for name in names}


def ends(trial: TrialRow) -> str:
    """Returns the interval of a trial's capacity, `18.2 to 19.3`, empty where there is none."""
    if trial.capacity_low_rps is None or trial.capacity_high_rps is None:
        return ""
    return f"{number(trial.capacity_low_rps)} to {number(trial.capacity_high_rps)}"


def in_frontier_order(points: Sequence[TrialPoint]) -> list[TrialPoint]:
    """Returns the points on the frontier by rank, those without one last."""
    front = [item for item in points if item.point.on_frontier]
    return sorted(front, key=lambda item: (item.point.rank is None, item.point.rank or 0))


def points_frame(points: Sequence[TrialPoint], axes: Sequence[Axis]) -> pd.DataFrame:
    """Returns one row an operating point.

    Columns: point, trial, device, scheduler, title, rate_rps, on_frontier, place (1 is the best, 0 off the frontier), tied,
    within_slo, hover, and one for each latency statistic (seconds), for dollars and for each objective; NaN where there is
    no value.
    """
    places = {item.point.id: place for place, item in enumerate(in_frontier_order(points), 1)}
    varied = differing(item.trial.deployment for item in points)
    names = [axis.name for axis in axes]
    rows = []
    for point, trial in ((item.point, item.trial) for item in points):
        rows.append(
            {
                "point": point.id,
                "trial": trial.number,
                "device": escape(trial.deployment["device"]),
                "scheduler": escape(trial.deployment["scheduler"]),
                "title": escape(deployment_title(trial.deployment)),
                "rate_rps": point.rate_rps,
                "on_frontier": point.on_frontier,
                "place": places.get(point.id, 0),
                "tied": point.tied,
                "within_slo": point.metrics.get("slo_met") is not False,
                "hover": _hover(trial, point.rate_rps, point.metrics, varied),
                **latencies(point.metrics),
                **{name: point.metrics.get(name) for name in DOLLARS},
                **{name: point.objectives.get(name) for name in names},
            }
        )
    flags = {"on_frontier": bool, "tied": bool, "within_slo": bool}
    numeric = list(dict.fromkeys(["rate_rps", *latencies({}), *DOLLARS, *names]))
    types = {**flags, **dict.fromkeys(numeric, float)}
    return pd.DataFrame(rows, columns=[*_FIXED, *(name for name in numeric if name not in _FIXED)]).astype(types)


def curves_frame(trials: Sequence[TrialRow]) -> pd.DataFrame:
    """Returns one row a rate of each trial's latency curve, by trial as given and rate ascending.

    Columns: trial, device, title, rate_rps, at_capacity, capacity_rps, capacity_low_rps, capacity_high_rps, hover, and one for
    each latency statistic (seconds); NaN where there is no value.
    """
    bounds = ("capacity_rps", "capacity_low_rps", "capacity_high_rps")
    numeric = ["rate_rps", *bounds, *latencies({})]
    rows = []
    for trial in trials:
        curve = sorted(trial.curve, key=lambda item: float(item["rate_rps"]))
        nearest = _nearest_to_capacity(trial)
        for item in curve:
            rate, metrics = float(item["rate_rps"]), item["metrics"]
            rows.append(
                {
                    "trial": trial.number,
                    "device": escape(trial.deployment["device"]),
                    "title": escape(deployment_title(trial.deployment)),
                    "rate_rps": rate,
                    "at_capacity": rate == nearest,
                    **{name: getattr(trial, name) for name in bounds},
                    "hover": _hover(trial, rate, metrics, ()),
                    **latencies(metrics),
                }
            )
    frame = pd.DataFrame(rows, columns=["trial", "device", "title", "at_capacity", "hover", *numeric])
    return frame.astype(dict.fromkeys(numeric, float))


def _nearest_to_capacity(trial: TrialRow) -> float | None:
    """Returns the rate of the curve that is nearest to the capacity and within its interval, if there is one."""
    if trial.capacity_rps is None:
        return None
    value = trial.capacity_rps
    low, high = (value if end is None else end for end in (trial.capacity_low_rps, trial.capacity_high_rps))
    within = [rate for rate in (float(item["rate_rps"]) for item in trial.curve) if low <= rate <= high]
    return min(within, key=lambda rate: abs(rate - value), default=None)


def best_by_device(frame: pd.DataFrame, axis: Axis) -> pd.DataFrame:
    """Returns of a `points_frame` one row a device: the best within the SLO by `axis`, the best device first."""
    allowed = frame[frame["within_slo"]].dropna(subset=[axis.name])
    # The frontier's own order decides between equals.
    order = allowed.assign(late=allowed["place"].where(allowed["place"] > 0, len(frame) + 1))
    ordered = order.sort_values([axis.name, "late", "point"], ascending=[axis.minimize, True, True], kind="stable")
    return ordered.drop_duplicates("device").drop(columns="late")


def _hover(trial: TrialRow, rate: float, metrics: Mapping[str, Any], varied: Sequence[str]) -> str:
    """Returns the whole deployment, its capacity and the metrics at a rate, one thought a line."""
    deployment = trial.deployment
    interval = f" [{ends(trial)}]" if ends(trial) else ""
    capacity = "" if trial.capacity_rps is None else f"; capacity {number(trial.capacity_rps)}{interval}"
    lines = [
        f"<b>{escape(deployment_title(deployment))}</b>  (trial {trial.number})",
        escape(knobs(deployment, varied)),
        f"At {number(rate)} requests/s{capacity}",
        _price(trial, metrics),
        " · ".join(f"{spoken(name)} {seconds(latency(metrics, name))}" for name in _TOLD[:3]),
        " · ".join(f"{spoken(name)} {seconds(latency(metrics, name))}" for name in _TOLD[3:]),
        _load(metrics),
        *_rest(deployment, varied),
    ]
    return "<br>".join(line for line in lines if line)


def _price(trial: TrialRow, metrics: Mapping[str, Any]) -> str:
    per_million, per_hour = metrics.get("usd_per_million_output_tokens"), metrics.get("usd_per_hour")
    if per_million is None and per_hour is None:
        return ""
    where = f" on {escape(rent(trial.bill))}" if trial.bill else ""
    return f"{usd(per_million)} per million output tokens · {usd(per_hour)} an hour{where}"


def _load(metrics: Mapping[str, Any]) -> str:
    parts = [
        ("goodput", "goodput_rps", 1.0, " requests/s"),
        ("batch", "mean_batch_size", 1.0, ""),
        ("KV in use", "kv_utilization", 100.0, " %"),
    ]
    parts += [
        ("busy", "busy_share", 100.0, " %"),
        ("MFU", "mfu", 100.0, " %"),
        ("memory bandwidth", "bandwidth_utilization", 100.0, " %"),
    ]
    told = [(name, metrics.get(key), factor, unit) for name, key, factor, unit in parts]
    return " · ".join(f"{name} {number(value * factor)}{unit}" for name, value, factor, unit in told if value is not None)


def _rest(deployment: Mapping[str, Any], varied: Sequence[str]) -> list[str]:
    others = [escape(knob(name, deployment[name])) for name in in_order(deployment) if name not in varied]
    named = [escape(f"{deployment['model']} on {deployment['engine']}")]
    lines = [" · ".join(others[start : start + _KNOBS_A_LINE]) for start in range(0, len(others), _KNOBS_A_LINE)]
    return [f'<span style="color:{LIGHT.muted}">{line}</span>' for line in [*named, *lines]]
