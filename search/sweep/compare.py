"""Compare: which numbers of a case moved beyond their tolerance, and what else about its answer is another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from db.sweep_rows import SweepCaseResult, SweepCaseRow
from search.sweep.digests import same_shapes
from search.sweep.numbers import better, beyond, change, noise
from search.sweep.suite import Tolerances

Finding = dict[str, Any]
Case = SweepCaseResult | SweepCaseRow
# With other seeds: the chance that a whole night without a change raises any alarm.
FALSE_ALARM = 1e-3


def compare(before: Case, now: SweepCaseResult, tolerances: Tolerances, comparisons: int | None) -> SweepCaseResult:
    """Returns the case with what is new in it beside a baseline's.

    `comparisons` is None where both ran with the same seeds, so that any difference is a change; else how many numbers the
    night compares, each with its share of FALSE_ALARM.
    """
    alpha = None if comparisons is None else FALSE_ALARM / max(comparisons, 1)
    found = [*_states(before, now)]
    if before.state == now.state == "done":
        found += [*_numbers(before, now, tolerances, alpha), *_winner(before, now)]
    # Of a deployment on the brink other seeds may say otherwise.
    found += [*(_deployments(before, now) if alpha is None else ()), *_operators(before, now, tolerances)]
    return replace(now, findings=found)


def _states(before: Case, now: Case) -> Iterable[Finding]:
    if before.state != now.state:
        why = f": {now.reason}" if now.reason else ""
        sentence = f"was {before.state}, is {now.state}{why}"
        yield _finding("state", "state", before.state, now.state, sentence, now.state == "done")


def _numbers(before: Case, now: Case, tolerances: Tolerances, alpha: float | None) -> Iterable[Finding]:
    for name, new in now.numbers.items():
        old = before.numbers.get(name)
        if old is None:
            if new["kind"] == "prices":
                yield _finding("price", name, None, new["value"], f"{name}: new, {new['value']:g} USD an hour", None)
            continue
        moved = change(old["value"], new["value"])
        if alpha is not None and new.get("same_seeds"):
            continue
        tolerance, by_chance = getattr(tolerances, new["kind"]), 0.0 if alpha is None else noise(old, new, alpha)
        if beyond(old["value"], new["value"], tolerance, by_chance):
            allowed = max(tolerance, by_chance)
            kind = "price" if new["kind"] == "prices" else "moved"
            sentence = f"{name} went from {old['value']:.5g} to {new['value']:.5g}, {moved:+.2%} (allowed {allowed:.2%})"
            yield _finding(kind, name, old["value"], new["value"], sentence, better(new["kind"], moved), allowed)
    for name, old in before.numbers.items():
        if name not in now.numbers and old["kind"] == "prices":
            yield _finding("price", name, old["value"], None, f"{name}: no longer sold, was {old['value']:g} USD an hour", None)


def _winner(before: Case, now: Case) -> Iterable[Finding]:
    old, new = _note(before, "winner"), _note(now, "winner")
    if not old or not new or old["winner"] == new["winner"]:
        return
    # Two that cannot be told apart change places by chance.
    if old["winner"] in new["tied"] or new["winner"] in old["tied"]:
        return
    yield _finding("winner", "winner", old["winner"], new["winner"], f"the winner was {old['winner']}, is {new['winner']}", None)


def _deployments(before: Case, now: Case) -> Iterable[Finding]:
    """Yields the deployments of a search that have an answer in one run alone."""
    old, new = _note(before, "states").get("states", {}), _note(now, "states").get("states", {})
    for name, state in new.items():
        if name in old and old[name] != state:
            yield _finding("state", name, old[name], state, f"{name} was {old[name]}, is {state}", state == "done")


def _operators(before: Case, now: Case, tolerances: Tolerances) -> Iterable[Finding]:
    """Yields the operators whose times moved, whether or not an answer did."""
    old = before.digests.get("profile", {})
    for name, new in now.digests.get("profile", {}).items():
        if name not in old or old[name]["digest"] == new["digest"] or not same_shapes(old[name], new):
            continue
        moved = change(old[name]["mean_s"], new["mean_s"])
        if abs(moved) > tolerances.operators:
            sentence = f"operator {name}: {moved:+.2%} in the mean of its table"
            yield _finding("operator", name, old[name]["mean_s"], new["mean_s"], sentence, moved < 0, tolerances.operators)


def _note(case: Case, kind: str) -> Mapping[str, Any]:
    return next((note for note in case.notes if note["kind"] == kind), {})


def _finding(
    kind: str, what: str, before: object, now: object, sentence: str, is_better: bool | None, allowed: float | None = None
) -> Finding:
    return {"kind": kind, "what": what, "before": before, "now": now, "better": is_better, "allowed": allowed, "sentence": sentence}


def compared_numbers(before: Iterable[Case], now: Iterable[Case]) -> int:
    """Returns how many numbers both nights have."""
    old = {case.name: case for case in before}
    return sum(len(set(case.numbers) & set(old[case.name].numbers)) for case in now if case.name in old)
