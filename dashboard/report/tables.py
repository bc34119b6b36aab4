"""The tables: the frontier's points, and the deployments that are ruled out with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.axis import Axis, axis_of
from dashboard.frames import in_frontier_order, latency
from dashboard.words import ABSENT, deployment_title, differing, in_order, knob, knobs, number, rent, usd
from db.rows import StudyRow, TrialPoint, TrialRow
from simulator.spec.slo import TERMS

_LATENCIES = ("ttft_p99_s", "itl_p99_s")


@dataclass(frozen=True)
class Cell:
    """One number with what stands small under it."""

    text: str
    small: str = ""


@dataclass(frozen=True)
class Line:
    """One operating point: its place, its deployment in short and in full, and a cell for each column."""

    point: int
    place: int
    trial: int
    tied: bool
    title: str
    varied: str
    full: list[str]
    cells: list[Cell]


@dataclass(frozen=True)
class Table:
    """The headings of the cells, with their units small, and the lines."""

    columns: list[Cell]
    lines: list[Line]


@dataclass(frozen=True)
class Refusal:
    """A reason, whether it is a failure of the program rather than an answer, and the deployments that it rules out."""

    reason: str
    failed: bool
    deployments: list[str]


def frontier_table(study: StudyRow, points: Sequence[TrialPoint], axes: Sequence[Axis]) -> Table:
    """Returns the frontier by rank: instances, rate, capacity, dollars, the SLO's latencies and the other objectives."""
    front = in_frontier_order(points)
    varied = differing(item.trial.deployment for item in points)
    extra = _extra_axes(study, axes)
    priced = any(item.point.metrics.get("usd_per_hour") is not None for item in front)
    money = [Cell("$/M", "output tokens"), Cell("$/h", "fleet")] if priced else []
    fixed = [Cell("Instances"), Cell("Rate", "requests/s"), Cell("Capacity", "requests/s"), *money]
    rings = sum(item.point.tied for item in points) > 1
    lines = []
    for place, item in enumerate(front, 1):
        deployment = item.trial.deployment
        lines.append(
            Line(
                point=item.point.id,
                place=place,
                trial=item.trial.number,
                tied=item.point.tied and rings,
                title=deployment_title(deployment),
                varied=knobs(deployment, varied),
                full=[knob(name, deployment[name]) for name in in_order(deployment)],
                cells=[*_fixed(item, priced), *(Cell(axis.text(_value(item, axis))) for axis in extra)],
            )
        )
    return Table([*fixed, *(Cell(axis.short, "" if axis.unit == "s" else axis.unit) for axis in extra)], lines)


def _extra_axes(study: StudyRow, axes: Sequence[Axis]) -> list[Axis]:
    """Returns the latencies of the SLO and of the objectives, at least TTFT and ITL p99, then objectives not shown yet."""
    slo = study.request.get("slo") or {}
    shown = {"usd_per_million_output_tokens", "usd_per_hour", "capacity_rps"}
    names = [name for name in slo if name in TERMS]
    names += [name for name in [*_LATENCIES, *(axis.name for axis in axes)] if name not in shown and name not in names]
    return [axis_of(name, slo) for name in dict.fromkeys(names)]


def _fixed(item: TrialPoint, priced: bool) -> list[Cell]:
    trial, metrics, bill = item.trial, item.point.metrics, item.trial.bill
    low, high = trial.capacity_low_rps, trial.capacity_high_rps
    ends = f"{number(low)} to {number(high)}" if low is not None and high is not None else ""
    money = [Cell(usd(metrics.get("usd_per_million_output_tokens"))), Cell(usd(metrics.get("usd_per_hour")))] if priced else []
    instances = Cell(rent(bill).split(" (")[0], bill["provider"]) if bill else Cell(ABSENT)
    return [instances, Cell(number(item.point.rate_rps)), Cell(number(trial.capacity_rps), ends), *money]


def _value(item: TrialPoint, axis: Axis) -> float | None:
    found = item.point.objectives.get(axis.name)
    if found is None and axis.unit == "s":
        return latency(item.point.metrics, axis.name)
    return None if found is None else float(found)


def refusals(trials: Sequence[TrialRow]) -> list[Refusal]:
    """Returns the reasons of trials that are not done, the most frequent first, each with its deployments."""
    others = [trial for trial in trials if trial.state != "done"]
    varied = differing(trial.deployment for trial in trials)
    grouped: dict[tuple[bool, str], list[str]] = {}
    for trial in others:
        chosen = knobs(trial.deployment, varied)
        text = ", ".join(part for part in (deployment_title(trial.deployment), chosen) if part)
        grouped.setdefault((trial.state == "failed", trial.reason or "no reason was stored"), []).append(text)
    found = [Refusal(reason, failed, told) for (failed, reason), told in grouped.items()]
    return sorted(found, key=lambda refusal: (refusal.failed, -len(refusal.deployments), refusal.reason))
