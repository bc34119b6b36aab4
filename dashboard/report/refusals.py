"""What the study ruled out, and why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.words import count, deployment_title, differing, knobs
from db.rows import StudyRow, TrialRow


@dataclass(frozen=True)
class Refusal:
    """A reason, its kind (`infeasible`, `failed` or `not legal`), how much it rules out, and the known deployments."""

    reason: str
    kind: str
    amount: str
    deployments: list[str]


def refusals_of(study: StudyRow, trials: Sequence[TrialRow]) -> list[Refusal]:
    """Returns the reasons of trials without an answer, the most frequent first, then combinations that are not legal."""
    varied = differing(trial.deployment for trial in trials)
    grouped: dict[tuple[str, str], list[TrialRow]] = {}
    for trial in trials:
        if trial.state != "done":
            grouped.setdefault((trial.state, re.sub(r"[\d.,]*\d", "#", trial.reason or "")), []).append(trial)
    found = [_refusal(rows, varied) for rows in sorted(grouped.values(), key=lambda rows: (rows[0].state == "failed", -len(rows)))]
    dropped = (study.summary or {}).get("dropped") or {}
    return found + [Refusal(str(reason), "not legal", count(amount, "combination"), []) for reason, amount in dropped.items()]


def _refusal(rows: Sequence[TrialRow], varied: Sequence[str]) -> Refusal:
    alike = len({row.reason for row in rows}) == 1
    told = [", ".join(part for part in (deployment_title(row.deployment), knobs(row.deployment, varied)) if part) for row in rows]
    deployments = told if alike else [f"{text}: {row.reason}" for text, row in zip(told, rows, strict=True)]
    reason = rows[0].reason or "no reason was stored"
    return Refusal(reason if alike else f"{reason}, and the like", rows[0].state, count(len(rows), "deployment"), deployments)
