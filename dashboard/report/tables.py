"""The table of the frontier's operating points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.axis import Axis, axis_of
from dashboard.frames import ends, in_frontier_order, latency
from dashboard.words import ABSENT, deployment_title, differing, in_order, instances, knob, knobs, number, usd
from db.rows import StudyRow, TrialPoint
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
class Known:
    """Whether any point has a capacity (a sized fleet has none) and a price (none without a price book)."""

    capacity: bool
    price: bool


@dataclass(frozen=True)
class Table:
    """The headings of the cells, with their units small, and the lines."""

    columns: list[Cell]
    lines: list[Line]


def frontier_table(study: StudyRow, points: Sequence[TrialPoint], axes: Sequence[Axis]) -> Table:
    """Returns the frontier by rank: instances, rate, capacity, dollars, the SLO's latencies and the other objectives."""
    front = in_frontier_order(points)
    varied = differing(item.trial.deployment for item in points)
    extra = _extra_axes(study, axes)
    known = Known(
        capacity=any(item.trial.capacity_rps is not None for item in front),
        price=any(item.point.metrics.get("usd_per_hour") is not None for item in front),
    )
    rings = len({item.trial.id for item in points if item.point.tied}) > 1
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
                cells=[*_fixed(item, known), *(Cell(axis.text(_value(item, axis))) for axis in extra)],
            )
        )
    return Table([*_headings(known), *(Cell(axis.short, "" if axis.unit == "s" else axis.unit) for axis in extra)], lines)


def _extra_axes(study: StudyRow, axes: Sequence[Axis]) -> list[Axis]:
    """Returns the latencies of the SLO and of the objectives, at least TTFT and ITL p99, then objectives not shown yet."""
    slo = study.request.get("slo") or {}
    shown = {"usd_per_million_output_tokens", "usd_per_hour", "capacity_rps"}
    names = [name for name in slo if name in TERMS]
    names += [name for name in [*_LATENCIES, *(axis.name for axis in axes)] if name not in shown and name not in names]
    return [axis_of(name, slo) for name in dict.fromkeys(names)]


def _headings(known: Known) -> list[Cell]:
    capacity = [Cell("Capacity", "requests/s")] if known.capacity else []
    money = [Cell("$/M", "output tokens"), Cell("$/h", "fleet")] if known.price else []
    return [Cell("Instances"), Cell("Rate", "requests/s"), *capacity, *money]


def _fixed(item: TrialPoint, known: Known) -> list[Cell]:
    trial, metrics, bill = item.trial, item.point.metrics, item.trial.bill
    rented = Cell(instances(bill), bill["provider"]) if bill else Cell(ABSENT)
    capacity = [Cell(number(trial.capacity_rps), ends(trial))] if known.capacity else []
    money = [Cell(usd(metrics.get("usd_per_million_output_tokens"))), Cell(usd(metrics.get("usd_per_hour")))] if known.price else []
    return [rented, Cell(number(item.point.rate_rps)), *capacity, *money]


def _value(item: TrialPoint, axis: Axis) -> float | None:
    found = item.point.objectives.get(axis.name)
    if found is None and axis.unit == "s":
        return latency(item.point.metrics, axis.name)
    return None if found is None else float(found)
