"""Numbers, names and deployments as people read them; plain text, escaped by whoever puts it into HTML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

ABSENT = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
_UPPER = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2e": "E2E", "gpu": "GPU", "gpus": "GPUs", "usd": "USD", "kv": "KV"}
_IN_TITLE = ("model", "engine", "device", "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "replicas")
# What an operator asks about first; the other knobs follow in the order of Deployment.
_FIRST = ("scheduler", "max_num_batched_tokens", "max_num_seqs")
_NAMES = {"tensor_parallel_size": "TP", "pipeline_parallel_size": "PP", "data_parallel_size": "DP"}


def number(value: float | None, digits: int = 3) -> str:
    """Returns a whole number as it is and any other with `digits` significant digits, thousands apart; a dash for None."""
    if value is None:
        return ABSENT
    if value == int(value) or abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    # The sign # keeps trailing zeros: 46.0 beside 44.6 is as exact as that.
    return f"{value:#.{digits}g}" if abs(value) >= 1e-3 else f"{value:.{digits}g}"


def usd(value: float | None) -> str:
    """Returns US dollars with cents, with three significant digits under a dollar, a dash for None."""
    if value is None:
        return ABSENT
    if 0 < abs(value) < 1:
        return f"${value:.3g}" if abs(value) < 0.1 else f"${value:.3f}"
    return f"${value:,.2f}" if abs(value) < 10_000 else f"${value:,.0f}"


def seconds(value: float | None) -> str:
    """Returns a duration in milliseconds under a second, in seconds above, a dash for None."""
    if value is None:
        return ABSENT
    return f"{number(value * 1000)} ms" if abs(value) < 1 else f"{number(value)} s"


def quantity(value: float | None, unit: str) -> str:
    """Returns a number in an objective's unit: dollars and seconds in their own way, anything else as it is."""
    if unit.startswith("USD"):
        return usd(value)
    return seconds(value) if unit == "s" else number(value)


def spoken(name: str) -> str:
    """Returns a field's name as it is said: `ttft_p99_s` is TTFT p99, `saturated_rate` is Saturated rate."""
    words = name.removesuffix("_s").split("_")
    text = " ".join(_UPPER.get(word, word) for word in words)
    return text[:1].upper() + text[1:]


def count(amount: int, noun: str) -> str:
    """Returns `1 GPU`, `2 GPUs`: the noun takes an s."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def gpus(deployment: Mapping[str, Any]) -> int:
    """Returns the GPUs of the whole fleet."""
    return math.prod(int(deployment.get(knob, 1)) for knob in (*_NAMES, "replicas"))


def deployment_title(deployment: Mapping[str, Any]) -> str:
    """Returns the GPUs and how they are divided: eight of a device, 4 replicas of TP 2."""
    parallel = [f"{_NAMES[knob]} {deployment[knob]}" for knob in _NAMES if deployment.get(knob, 1) > 1]
    fleet = [count(deployment["replicas"], "replica")] if deployment["replicas"] > 1 else []
    text = " of ".join([*fleet, f" {TIMES} ".join(parallel)] if parallel else fleet)
    return ", ".join(part for part in (f"{gpus(deployment)} {TIMES} {deployment['device']}", text) if part)


def knob(name: str, value: object) -> str:
    """Returns a knob and its value, the name left out where the value says it."""
    if isinstance(value, bool):
        return f"{name} {'on' if value else 'off'}"
    if isinstance(value, Mapping):
        return ", ".join(knob(f"{name}.{inner}", each) for inner, each in value.items()) or f"{name} by default"
    shown = "none" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
    return shown if name in ("scheduler", "dtype") else f"{name} {shown}"


def differing(deployments: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Returns the knobs, beside those of the title, that differ between deployments."""
    seen: dict[str, set[str]] = {}
    for deployment in deployments:
        for name, value in deployment.items():
            seen.setdefault(name, set()).add(repr(value))
    return tuple(name for name in in_order(seen) if len(seen[name]) > 1)


def in_order(names: Iterable[str]) -> list[str]:
    """Returns the knobs beside those of the title, those first that are asked about first."""
    rest = [name for name in names if name not in _IN_TITLE]
    return sorted(rest, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))


def knobs(deployment: Mapping[str, Any], names: Sequence[str]) -> str:
    """Returns the named knobs with their values on one line."""
    return " · ".join(knob(name, deployment[name]) for name in names if deployment.get(name) != {} and name in deployment)


def instances(bill: Mapping[str, Any]) -> str:
    """Returns how many of which instance a bill is for."""
    return f"{bill['instances']:,} {TIMES} {bill['instance']}"


def rent(bill: Mapping[str, Any] | None) -> str:
    """Returns how many of which instance a bill is for, and whose they are; a dash without one."""
    return ABSENT if bill is None else f"{instances(bill)} ({bill['provider']})"
