"""The head of the page: what was asked, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from dashboard.words import count, number, seconds, spoken
from db.rows import StudyRow, TrialRow

_UNFINISHED = {
    "queued": "The study has not begun.",
    "running": "The study is still running; this page shows what it had found when the page was written.",
    "cancelled": "The study was cancelled; this page shows what it had found by then.",
    "failed": "The study failed; this page shows what it had found by then.",
}


@dataclass(frozen=True)
class Heading:
    """The asked-for facts as (label, value) pairs, the counts of trials, and a warning for a study without an end."""

    facts: list[tuple[str, str]]
    trials: str
    warning: str


def heading_of(study: StudyRow, trials: Sequence[TrialRow]) -> Heading:
    """Returns the head of the page of a study."""
    request = study.request
    demand = (request.get("demand") or {}).get("rate_rps")
    facts = [
        ("Model", str(request.get("model"))),
        ("Engine", str(request.get("engine"))),
        ("Traffic", traffic(request.get("workload") or {})),
        ("Load", f"{number(demand)} requests/s" if demand else "each deployment's own capacity"),
        ("SLO", ", ".join(bound(name, limit) for name, limit in (request.get("slo") or {}).items())),
        ("Prices", PurePath(request["prices"]).name if request.get("prices") else "none"),
    ]
    states: Counter[str] = Counter(trial.state for trial in trials)
    told = [f"{states[state]:,} {word}" for state, word in (("done", "scored"), ("infeasible", "infeasible"), ("failed", "failed"))]
    kept = [text for text in told if not text.startswith("0 ")]
    return Heading(
        facts, f"{count(len(trials), 'deployment')}: {', '.join(kept)}" if kept else "", _UNFINISHED.get(study.state, "")
    )


def bound(name: str, limit: float) -> str:
    """Returns one bound of an Slo: `TTFT p99 ≤ 2 s`."""
    return f"{spoken(name)} ≤ {seconds(limit)}"


def traffic(workload: Mapping[str, Any]) -> str:
    """Returns a workload in a few words: its preset, its trace or its lengths."""
    if workload.get("preset"):
        return str(workload["preset"])
    if workload.get("trace"):
        return f"trace {PurePath(workload['trace']).name}"
    parts = [f"{side} {lengths(workload[f'{side}_tokens'])}" for side in ("prompt", "output") if workload.get(f"{side}_tokens")]
    return f"{' and '.join(parts)} tokens" if parts else "none"


def lengths(form: Mapping[str, Any] | int) -> str:
    """Returns a distribution of token counts in a few words."""
    if isinstance(form, int):
        return number(form)
    if form.get("fixed"):
        return number(form["fixed"])
    if form.get("uniform"):
        return f"{number(form['uniform']['low'])} to {number(form['uniform']['high'])}"
    if form.get("lognormal"):
        return f"lognormal around {number(form['lognormal']['median'])}"
    return f"{number(form['quantiles']['tokens'][0])} to {number(form['quantiles']['tokens'][-1])} by quantiles"
