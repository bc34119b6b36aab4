"""What ran on a real engine, beside what was simulated of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.words import ABSENT, deployment_title, number, spoken
from db.rows import TrialRow, ValidationRow

SHOWN = ("ttft_p50_s", "ttft_p99_s", "tpot_mean_s", "e2e_p50_s")


@dataclass(frozen=True)
class Run:
    """A deployment at a load: where it ran, and the error of each metric or the line that says why there is none."""

    title: str
    where: str
    load: str
    errors: list[str]
    fault: str


@dataclass(frozen=True)
class Runs:
    """The metrics, and the runs in order of trials and loads."""

    metrics: list[str]
    lines: list[Run]


def validated_of(trials: Sequence[TrialRow], found: Sequence[tuple[int, ValidationRow]]) -> Runs:
    """Returns the runs of a study; errors are (simulated - measured) / measured."""
    deployments = {trial.number: trial.deployment for trial in trials}
    lines = []
    for trial, row in found:
        title = deployment_title(deployments[trial]) if deployments.get(trial) else f"trial {trial}"
        errors = [_error((row.errors or {}).get(name)) for name in SHOWN]
        fault = "" if row.state == "done" else f"{row.fault_kind}: {row.fault_reason}"
        load = f"{row.load:.0%}, {number(row.rate_rps)} requests/s"
        lines.append(Run(title, f"{row.device}, {row.engine}", load, errors, fault))
    return Runs([spoken(name) for name in SHOWN], lines)


def _error(value: float | None) -> str:
    return ABSENT if value is None else f"{value:+.1%}"
