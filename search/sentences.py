"""What a study found, in sentences: what binds the winner, what the next one costs, where its times come from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from db.rows import StudyRow, TrialPoint, TrialRow
from simulator.cli import HOURS_A_MONTH, bound_value, digits, dollars, seconds

MOST_REASONS = 5


def heading(study: StudyRow) -> str:
    """Returns the study's name, model, SLO and demand in one line."""
    request = study.request
    slo = ", ".join(f"{term} <= {limit:g} s" for term, limit in request["slo"].items())
    demand = request.get("demand")
    load = f" at {demand['rate_rps']:g} req/s" if demand else ""
    return f"{study.name} ({study.id}): {request['model']}{load}, {slo}"


def state_line(study: StudyRow, trials: Sequence[TrialRow]) -> str | None:
    """Returns how far a study is that has not ended well, or None."""
    if study.state == "done":
        return None
    return f"the study is {study.state}: {_count(len(trials), 'trial')} stored"


def binding_line(winner: TrialPoint, slo: Mapping[str, float]) -> str | None:
    """Returns what keeps the winner from more load, with its value at the highest rate known to keep the SLO.

    None where what binds was not stored.
    """
    trial = winner.trial
    if trial.binding is None:
        return None
    if trial.capacity_rps is None:
        return _beyond_the_demand(winner, slo, trial.binding)
    limit_rps = trial.capacity_rps
    if trial.binding not in slo:
        return f"the winner is bound by its {trial.binding}: beyond {digits(limit_rps)} req/s requests pile up for ever"
    highest = max((p for p in trial.curve if p["rate_rps"] <= limit_rps), key=lambda p: p["rate_rps"], default=None)
    if highest is None:
        return f"the winner is bound by {trial.binding}"
    value, limit_s = bound_value(highest["metrics"], slo, trial.binding), slo[trial.binding]
    if value is None:
        return f"the winner is bound by {trial.binding} at {digits(highest['rate_rps'])} req/s"
    return f"the winner is bound by {trial.binding} at {digits(highest['rate_rps'])} req/s: {seconds(value)} of {seconds(limit_s)}"


def _beyond_the_demand(winner: TrialPoint, slo: Mapping[str, float], binding: str) -> str:
    """Returns what a fleet that was sized for a demand breaks first when it is sent more."""
    more = f"with more than {digits(winner.point.rate_rps)} req/s"
    if binding not in slo:
        return f"{more} the winner's requests pile up before a bound breaks"
    value = bound_value(winner.point.metrics, slo, binding)
    room = "" if value is None else f": here {seconds(value)} of {seconds(slo[binding])}"
    return f"{more} the winner first breaks {binding}{room}"


def error_line(winner: TrialPoint) -> str | None:
    """Returns how far the winner's numbers may be off; None where that was not worked out."""
    told = winner.expected_error
    return f"the winner's {told['text']}" if told and "text" in told else None


def rent_line(winner: TrialRow) -> str | None:
    """Returns what the winner rents, where and for how much; None without a price book."""
    if winner.bill is None:
        return None
    bill = winner.bill
    what = f"{bill['instances']}x {bill['instance']} of {bill['provider']}, {_count(bill['gpus_rented'], 'GPU')}"
    return (
        f"the winner rents {what}: {dollars(bill['usd_per_hour'])} an hour, {dollars(bill['usd_per_hour'] * HOURS_A_MONTH)} a month"
    )


def runner_up_line(ranked: Sequence[TrialPoint], objective: str) -> str | None:
    """Returns by how much the second deployment is behind in the first objective; `ranked` has the best point of each."""
    if len(ranked) < 2:
        return None
    best, second = (found.point.objectives.get(objective) for found in ranked[:2])
    if not best or second is None:
        return None
    change = 100 * (second / best - 1)
    by_how_much = f"{digits(abs(change), 2)} % {'more' if change > 0 else 'less'}" if abs(change) >= 0.05 else "the same"
    verb = "costs" if objective.startswith("usd") else "has"
    tied = "; the two cannot be told apart" if ranked[0].point.tied and ranked[1].point.tied else ""
    return f"the runner-up {verb} {by_how_much}: {objective} {digits(second)} after {digits(best)}{tied}"


def reason_lines(trials: Iterable[TrialRow]) -> Iterator[str]:
    """Yields one line a kind of reason for which trials have no answer, the commonest first.

    Reasons that differ in their numbers only are one kind; a line shows one of them.
    """
    kinds: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    for trial in trials:
        if trial.state != "done" and trial.reason:
            kind = (str(trial.state), re.sub(r"[\d.,]*\d", "#", trial.reason))
            kinds[kind] += 1
            examples.setdefault(kind, trial.reason)
    ordered = kinds.most_common()
    for kind, count in ordered[:MOST_REASONS]:
        yield f"{kind[0]}: {_count(count, 'trial')}, {'as' if count > 1 else 'since'} {examples[kind]}"
    if rest := ordered[MOST_REASONS:]:
        yield f"and {sum(count for _, count in rest)} more for {len(rest)} other reasons"


def how_lines(study: StudyRow) -> Iterator[str]:
    """Yields how the space was searched, what of it is not legal, and what was done to the workload's trace."""
    summary = study.summary or {}
    if sampler := summary.get("sampler"):
        yield f"search: {sampler}"
    dropped: Mapping[str, int] = summary.get("dropped") or {}
    yield from (f"not legal: {_count(count, 'combination')}, {reason}" for reason, count in list(dropped.items())[:MOST_REASONS])
    yield from (f"workload: {note}" for note in summary.get("notes") or ())


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def trials_line(study: StudyRow, points: Sequence[TrialPoint]) -> str:
    """Returns which trials the rows are of, in their order: a rank is not the number that other commands take."""
    numbers = ", ".join(str(found.trial.number) for found in points)
    rows = f"the rows, from the first, are trials {numbers}" if len(points) > 1 else f"the row is trial {numbers}"
    return f"{rows} (as in: trimtab launch {study.id} TRIAL)"
