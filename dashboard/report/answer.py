"""The answer in one sentence, and the numbers behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from dashboard.axis import Axis
from dashboard.frames import ends, in_frontier_order, latency
from dashboard.words import count, deployment_title, differing, gpus, knobs, number, quantity, rent, seconds, spoken, usd
from db.rows import StudyRow, TrialPoint, TrialRow
from simulator.spec.slo import TERMS


@dataclass(frozen=True)
class Tile:
    """One number: its label, its text, what is to be said of it, and how much of its limit it uses (0 to 1), if it has one."""

    label: str
    value: str
    detail: str = ""
    share: float | None = None


@dataclass(frozen=True)
class Answer:
    """The sentence, the deployment that it is about with the knobs that the study varied, tiles, ties and notes."""

    sentence: str
    title: str = ""
    knobs: str = ""
    command: str = ""
    tiles: list[Tile] = field(default_factory=list)
    tied: str = ""
    ties: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def answer_of(study: StudyRow, trials: Sequence[TrialRow], points: Sequence[TrialPoint], axes: Sequence[Axis]) -> Answer:
    """Returns what the study found: the first point of its frontier, or why there is none."""
    summary = study.summary or {}
    notes = [str(note) for note in summary.get("notes") or []]
    front = in_frontier_order(points)
    if not front:
        return Answer(str(summary.get("sentence") or _nothing(study, trials)), notes=notes)
    best = front[0]
    ties = _ties(best, points, axes[0])
    return Answer(
        sentence=str(summary.get("sentence") or _sentence(best, axes[0])),
        title=deployment_title(best.trial.deployment),
        knobs=knobs(best.trial.deployment, differing(item.trial.deployment for item in points)),
        command=f"trimtab frontier {study.id} --all",
        tiles=[*_money(best, axes[0]), *_capacity(best), *_bounds(study, best)],
        ties=ties,
        tied=_tied(len(ties), best.trial),
        notes=[*_error(best), *notes],
    )


def _error(best: TrialPoint) -> list[str]:
    """Returns how far the numbers may be off, in a sentence; nothing where that was not worked out."""
    text = (best.expected_error or {}).get("text")
    return [f"{text[0].upper()}{text[1:]}."] if text else []


def _sentence(best: TrialPoint, first: Axis) -> str:
    point, trial = best.point, best.trial
    hourly = point.metrics.get("usd_per_hour")
    lead = "The cheapest deployment" if first.unit.startswith("USD") else f"The best deployment by {first.short}"
    price = f" at {_valued(best, first)}" + (
        f", {usd(hourly)} an hour" if hourly is not None and first.name != "usd_per_hour" else ""
    )
    text = f"{lead} is {deployment_title(trial.deployment)}: it serves {number(point.rate_rps)} requests/s{price}"
    if trial.capacity_rps is None:
        return f"{text}{_first_broken(trial.binding)}."
    ends = (
        f" ({_level(trial)}{number(trial.capacity_low_rps)} to {number(trial.capacity_high_rps)})" if trial.capacity_low_rps else ""
    )
    return f"{text}; its capacity is {number(trial.capacity_rps)} requests/s{ends}{_because(trial.binding)}."


def _valued(item: TrialPoint, first: Axis) -> str:
    """Returns the value with what it is: `$0.112 per million output tokens`, `a TTFT p99 of 412 ms`."""
    value = first.text(item.point.objectives.get(first.name))
    return f"{value} {first.unit.removeprefix('USD ')}" if first.unit.startswith("USD") else f"a {first.short} of {value}"


def _because(binding: str | None) -> str:
    if binding is None:
        return ""
    return f", bound by {spoken(binding)}" if binding in TERMS else f", bound by the {spoken(binding).lower()}"


def _first_broken(binding: str | None) -> str:
    """Returns what limits a fleet that was sized for a demand, and whose capacity was therefore not searched."""
    return f"; with more load {spoken(binding)} is the first of the SLO's bounds that breaks" if binding in TERMS else ""


def _level(trial: TrialRow) -> str:
    return "" if trial.capacity_level is None else f"{trial.capacity_level:.0%} interval "


def _nothing(study: StudyRow, trials: Sequence[TrialRow]) -> str:
    if study.state in ("queued", "running"):
        return "No answer yet: deployments are being tried." if study.state == "running" else "The study waits for a worker."
    if study.state in ("cancelled", "failed"):
        return "No deployment has been found that serves this traffic within the SLO."
    reasons = Counter(trial.reason for trial in trials if trial.reason)
    told = f" The most frequent reason: {reasons.most_common(1)[0][0]}." if reasons else ""
    return f"None of {count(len(trials), 'deployment')} tried serves this traffic within the SLO.{told}"


def _money(best: TrialPoint, first: Axis) -> list[Tile]:
    metrics, bill = best.point.metrics, best.trial.bill
    at = f"at {number(best.point.rate_rps)} requests/s"
    tiles = [Tile(first.brief, first.text(best.point.objectives.get(first.name)), at)]
    if first.name != "usd_per_million_output_tokens" and metrics.get("usd_per_million_output_tokens") is not None:
        tiles.append(Tile("$ per M output tokens", usd(metrics["usd_per_million_output_tokens"]), at))
    if first.name != "usd_per_hour" and metrics.get("usd_per_hour") is not None:
        where = rent(bill) if bill else count(gpus(best.trial.deployment), "GPU")
        tiles.append(Tile("$ per hour", usd(metrics["usd_per_hour"]), where))
    return tiles


def _capacity(best: TrialPoint) -> list[Tile]:
    trial = best.trial
    if trial.capacity_rps is None:
        return []
    interval = f"{_level(trial)}{ends(trial)}" if ends(trial) else ""
    bound = _because(trial.binding).removeprefix(", ")
    most = f"saturated at {number(trial.saturated_rps)}" if trial.saturated_rps is not None else ""
    return [Tile("Capacity, requests/s", number(trial.capacity_rps), "; ".join(part for part in (interval, bound, most) if part))]


def _bounds(study: StudyRow, best: TrialPoint) -> list[Tile]:
    """Returns a tile for each percentile bound of the SLO: how much of it the best point uses."""
    tiles = []
    for name, limit in (study.request.get("slo") or {}).items():
        value = latency(best.point.metrics, name) if name in TERMS else None
        if value is not None:
            tiles.append(Tile(spoken(name), seconds(value), f"SLO {seconds(limit)}", value / limit))
    return tiles


def _tied(amount: int, best: TrialRow) -> str:
    """Returns what the ties have in common: an interval that overlaps, or where there is none the same value."""
    who = f"{count(amount, 'other deployment')}"
    return f"{who} cannot be told apart from it within the interval" if ends(best) else f"{who} at the same value"


def _ties(best: TrialPoint, points: Sequence[TrialPoint], first: Axis) -> list[str]:
    """Returns the other deployments that the interval does not tell apart from the best, each once with its value."""
    others = [item for item in points if item.point.tied and item.trial.id != best.trial.id]
    varied = differing(item.trial.deployment for item in [best, *others])
    told: dict[int, str] = {}
    for item in others:
        value = quantity(item.point.objectives.get(first.name), first.unit)
        chosen = knobs(item.trial.deployment, varied)
        told.setdefault(
            item.trial.id, ", ".join(part for part in (f"{deployment_title(item.trial.deployment)}: {value}", chosen) if part)
        )
    return list(told.values())
