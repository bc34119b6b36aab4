"""Expected errors as they are told: one document, one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from simulator.expected.nearest import Measured
from simulator.expected.propagate import Factors, Range

NOT_VALIDATED = "not validated"
NOT_WORKED_OUT = "not worked out, as for every trial that is not on the frontier"
TITLES = {"ttft": "TTFT", "tpot": "TPOT", "capacity": "capacity"}
# Beyond tenfold a range says no more than that the load is beyond what such times can serve.
MOST = 9.0
DIGITS = 4
Document = dict[str, Any]


def document(
    found: Factors | None, ranges: Mapping[str, Range], measured: Mapping[str, Measured | None], unknown: str | None = None
) -> Document:
    """Returns `expected_error` of an answer: by metric what is propagated and what was measured, and the line for people.

    `measured` has an entry for each metric that the answer gives; `ranges` has their statistics by name. `unknown` says
    why nothing is propagated.
    """
    told: Document = {"status": "validated" if any(measured.values()) else NOT_VALIDATED}
    for metric, known in measured.items():
        propagated = {name: _rounded(asdict(r)) for name, r in ranges.items() if name.partition("_")[0] == metric}
        told[metric] = {
            "propagated": propagated or None,
            "measured": NOT_VALIDATED if known is None else _rounded(asdict(known)),
        }
    told["operators"] = _rounded(asdict(found)) if found else {"unknown": unknown or UNKNOWN}
    told["text"] = line(told)
    return told


UNKNOWN = "the errors of its operator times are not known"


def line(told: Mapping[str, Any]) -> str:
    """Returns the document in one line."""
    metrics = [metric for metric in TITLES if metric in told]
    parts = [f"{TITLES[metric]} {_span(told[metric]['propagated'])}" for metric in metrics if told[metric]["propagated"]]
    propagated = f"{', '.join(parts)} propagated" if parts else f"nothing propagated, {told['operators'].get('unknown', UNKNOWN)}"
    return f"expected error: {propagated}; {_measured(told, metrics)}"


def _span(ranges: Mapping[str, Mapping[str, float]]) -> str:
    """Returns the range of a metric's mean, or of its only figure: `±3 %` or `-2 to +5 %`."""
    found = ranges[next((name for name in ranges if name.endswith("_mean")), next(iter(ranges)))]
    low, high = found["low"], found["high"]
    if high > MOST:
        return f"{_percent(low)} to more than tenfold"
    if abs(low + high) <= 0.1 * (high - low):
        return f"±{_size((high - low) / 2)} %"
    return f"{_percent(low)} to {_percent(high)} %"


def _percent(share: float) -> str:
    value = 100 * share
    return f"{value:+.{0 if abs(value) >= 9.95 else 1}f}"


def _size(share: float) -> str:
    value = 100 * share
    return f"{value:.0f}" if value >= 99.5 else f"{value:.2g}"


def _measured(told: Mapping[str, Any], metrics: list[str]) -> str:
    known = {metric: told[metric]["measured"] for metric in metrics if isinstance(told[metric]["measured"], Mapping)}
    if not known:
        return NOT_VALIDATED
    errors = ", ".join(f"{TITLES[metric]} {_size(each['median'])} %" for metric, each in known.items())
    first = next(iter(known.values()))
    where = ", ".join(str(first[name]) for name in ("engine", "device", "model") if first[name])
    cases = f"{first['n']} case{'s' if first['n'] != 1 else ''}"
    return f"measured: {errors} (median) on {where} ({cases} of {first['set']}; {first['nearest']})"


def _rounded(figures: Mapping[str, Any]) -> Document:
    return {name: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value for name, value in figures.items()}
