"""The form of a plan as a request: pure functions between its fields, the address that shares them, and PlanRequest's document."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import Any

from search.plan.request import forecast_rows
from simulator.errors import InputError

Values = dict[str, Any]
# What is planned where no study is chosen: the example of the README.
EXAMPLE: dict[str, Any] = {
    "deployments": [
        {"model": "meta-llama/Llama-3.1-8B", "device": device, "max_num_batched_tokens": 2048, "max_num_seqs": 256,
         "max_model_len": 16384}
        for device in ("H100-SXM", "L40S")
    ],
    "slo": {"ttft_p99_s": 2.0, "itl_p99_s": 0.2},
}  # fmt: skip
DEFAULTS: Values = {
    "study": None,
    "trial": None,
    "shape": "preset",
    "preset": "chat",
    "forecast": "",
    "trace": None,
    "mean": 40.0,
    "growth": 0.0,
    "months": 0.0,
    "low": None,
    "high": None,
    "percentile": 90.0,
    "headroom": 10.0,
    "survives": "instance",
    "zones": 3,
    "start": 600.0,
    "stay": 1,
    "spot": None,
    "prices": "cloud-2026-11",
    "budget": None,
}
TEXTS = frozenset({"study", "shape", "preset", "forecast", "trace", "survives", "prices"})
# What it is called in a request, for what is wrong with it.
FIELDS = {
    "study": "study",
    "trial": "trials",
    "preset": "demand.preset",
    "forecast": "demand.forecast",
    "trace": "demand.trace",
    "mean": "demand.mean_rps",
    "growth": "demand.growth_per_month",
    "months": "demand.months",
    "low": "demand.interval",
    "high": "demand.interval",
    "percentile": "demand.percentile",
    "headroom": "fleet.headroom",
    "survives": "fleet.survives",
    "zones": "fleet.zones",
    "start": "fleet.scaling",
    "stay": "fleet.scaling.min_up_h",
    "spot": "spot",
    "prices": "prices",
    "budget": "budget_usd_per_month",
}


# What the sliders may say: the least and the most.
WHAT_IF: Mapping[str, tuple[float, float]] = {"if_demand": (0.25, 4.0), "if_headroom": (0.0, 100.0), "if_slo": (0.25, 2.0)}


def sliders_of(values: Mapping[str, Any], query: Mapping[str, str] = {}) -> list[float]:
    """Returns where the sliders stand, in the order of WHAT_IF: as an address has them, else so that they change nothing.

    Raises InputError for what a slider cannot say.
    """
    plain = {"if_demand": 1.0, "if_headroom": float(values["headroom"] or 0.0), "if_slo": 1.0}
    found = []
    for name, (low, high) in WHAT_IF.items():
        value = _number(name, query[name]) if query.get(name) else plain[name]
        if value is None or (name in query and not low <= value <= high):
            raise InputError(name, query[name], f"a number from {low:g} to {high:g}")
        found.append(float(value))
    return found


def values_of(query: Mapping[str, str]) -> Values:
    """Returns the fields as an address has them, the defaults where it says nothing; raises InputError for no number."""
    found = dict(DEFAULTS)
    for name, text in query.items():
        if name in DEFAULTS:
            found[name] = (text or None) if name in TEXTS else _number(name, text)
    return found


def query_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Returns what an address says of the fields: those that are not as they were."""
    return {name: _text(values.get(name)) for name, default in DEFAULTS.items() if values.get(name) != default}


def document_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the request as PlanRequest takes it; raises InputError for a table that is none."""
    found: dict[str, Any] = {"study": values["study"]} if values["study"] else dict(EXAMPLE)
    if values["study"] and values["trial"] is not None:
        found["trials"] = [values["trial"]]
    if values["shape"] == "forecast" and not values["study"]:
        found["workload"] = {"preset": values["preset"]}
    found |= {"demand": _demand(values), "fleet": _fleet(values), "prices": values["prices"]}
    if values["spot"]:
        found["spot"] = {"max_share": values["spot"] / 100}
    if values["budget"]:
        found["budget_usd_per_month"] = values["budget"]
    return found


def _demand(values: Mapping[str, Any]) -> dict[str, Any]:
    shape = values["shape"]
    found: dict[str, Any] = {"growth_per_month": (values["growth"] or 0.0) / 100, "months": values["months"] or 0.0}
    if shape == "forecast":
        found["forecast"] = _rows(values["forecast"] or "")
    else:
        found[shape] = values[shape]
        if values["mean"] is not None:
            found["mean_rps"] = values["mean"]
    if values["low"] and values["high"]:
        found["interval"] = {"level": 0.8, "low": values["low"], "high": values["high"]}
        found["percentile"] = values["percentile"]
    elif values["low"] or values["high"]:
        raise InputError("demand.interval", [values["low"], values["high"]], "both ends of the interval, or none")
    return found


def _rows(text: str) -> list[dict[str, float]]:
    try:
        return forecast_rows(text.strip().splitlines())
    except csv.Error as error:
        raise InputError("demand.forecast", text[:100], f"lines of comma-separated values ({error})") from None


def _fleet(values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"headroom": (values["headroom"] or 0.0) / 100, "survives": values["survives"]}
    if values["survives"] == "zone":
        found["zones"] = values["zones"]
    if values["start"] is not None:
        found["scaling"] = {"start_up_s": values["start"], "min_up_h": values["stay"] or 1}
    return found


def _number(name: str, text: str) -> float | int | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise InputError(name, text, "a number") from None
    if not -1e12 < value < 1e12:
        raise InputError(name, text, "a number")
    return int(value) if value == int(value) and name in ("zones", "stay", "trial") else value


def _text(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
