"""Blame: which of code, profile, price, workload, engine version moved a case, from the digests of both nights.

Where several differ, the scenario is run again with one of them put back as far as its digests tell how: operators at the
mean of their old times, dollars at the old rent. What is then as it was came from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from db.sweep_rows import SweepCaseResult, SweepCaseRow
from search.sweep.compare import Finding, compare
from search.sweep.digests import CAUSES, same_shapes
from search.sweep.numbers import change
from search.sweep.scenarios import measured
from search.sweep.suite import Pinned, ScenarioCase, Tolerances
from simulator.errors import Infeasible
from simulator.optime.operators import Operator
from simulator.optime.provenance import Priced

Cause = dict[str, Any]
Case = SweepCaseResult | SweepCaseRow
SHOWN = 8
# Numbers that are dollars: in proportion to the rent.
DOLLARS = ("usd_per_hour", "usd_per_million_output_tokens")


def causes(before: Case, now: Case) -> list[Cause]:
    """Returns everything that the two answers rest on and that is not the same, the likelier causes first."""
    found: list[Cause] = []
    for kind in CAUSES:
        old, new = before.digests.get(kind) or {}, now.digests.get(kind) or {}
        # What one night alone knows, as requests of other seeds or an answer that was not reached, tells nothing.
        if old and new:
            found += _differing(kind, old, new)
    return found


def _differing(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterable[Cause]:
    for name in sorted({*old, *new}):
        one, other = old.get(name), new.get(name)
        if one is None or other is None:
            yield {"kind": kind, "what": name, "sentence": f"{kind}: {name} is {'new' if one is None else 'gone'}"}
        elif one["digest"] != other["digest"] and same_shapes(one, other):
            yield {"kind": kind, "what": name, "sentence": f"{kind}: {_told(kind, name, one, other)}"}


def _told(kind: str, name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    if "mean_s" in one and "mean_s" in other:
        source = (
            "" if one.get("source") == other.get("source") else f", source {one.get('source')} before, {other.get('source')} now"
        )
        return f"operator {name}, {change(one['mean_s'], other['mean_s']):+.2%} in the mean of its table{source}"
    if "usd_per_hour" in one and "usd_per_hour" in other:
        return f"{name}, {one['usd_per_hour']:g} to {other['usd_per_hour']:g} USD an hour"
    if "value" in one and "value" in other:
        return f"{name}, {one['value']} to {other['value']}"
    if name.startswith("package "):
        return f"{name}, {one['digest']} to {other['digest']}"
    return f"{name} is another" if kind != "code" else f"{name} was edited"


def blamed(case: Pinned, before: Case, now: SweepCaseResult, tolerances: Tolerances) -> SweepCaseResult:
    """Returns the case with its causes where it has findings, each with how much of them goes when it is put back."""
    found = causes(before, now)
    if not now.findings:
        told = [*now.notes, *_quiet(found)]
        return replace(now, notes=told)
    kinds = {each["kind"] for each in found}
    if len(kinds) > 1 and isinstance(case, ScenarioCase) and before.state == now.state == "done":
        for kind in ("profile", "price"):
            if kind in kinds:
                gone = _gone(case, before, now, tolerances, kind)
                found = [{**each, **({"explains": gone, "of": _counted(now)} if each["kind"] == kind else {})} for each in found]
    return replace(now, causes=found)


def _quiet(found: Sequence[Cause]) -> list[dict[str, Any]]:
    if not found:
        return []
    kinds = sorted({each["kind"] for each in found}, key=CAUSES.index)
    return [{"kind": "harmless", "sentence": f"changed and moved nothing: {', '.join(kinds)}"}]


def _counted(now: Case) -> int:
    return sum(finding["kind"] == "moved" for finding in now.findings)


def _gone(case: ScenarioCase, before: Case, now: SweepCaseResult, tolerances: Tolerances, kind: str) -> int | None:
    """Returns how many of the numbers that moved are as they were once a cause is put back; None where it cannot be."""
    try:
        numbers = _at_old_times(case, before, now) if kind == "profile" else _at_old_rent(before, now)
    except Infeasible:
        return None
    if numbers is None:
        return None
    left: list[Finding] = compare(before, replace(now, numbers=numbers), tolerances, None).findings
    names = {finding["what"] for finding in left if finding["kind"] == "moved"}
    return sum(finding["what"] not in names for finding in now.findings if finding["kind"] == "moved")


def _at_old_times(case: ScenarioCase, before: Case, now: Case) -> dict[str, Any] | None:
    old, new = before.digests.get("profile", {}), now.digests.get("profile", {})
    factors = {
        name: old[name]["mean_s"] / new[name]["mean_s"]
        for name in new
        if name in old and old[name]["digest"] != new[name]["digest"] and same_shapes(old[name], new[name]) and new[name]["mean_s"]
    }
    if not factors or set(old) != set(new):
        return None
    heard: list[str] = []

    def put_back(operator: Operator, priced: Priced) -> Priced:
        heard.append(operator.name)
        return Priced(priced.seconds * factors.get(operator.name, 1.0), priced.kinds)

    numbers, _, _ = measured(case, 0, put_back)
    # Whole iterations and the host's times do not pass by.
    return numbers if set(factors) <= set(heard) else None


def _at_old_rent(before: Case, now: Case) -> dict[str, Any] | None:
    old, new = (case.numbers.get("usd_per_hour", {}).get("value") for case in (before, now))
    if not old or not new:
        return None
    ratio = old / new
    return {
        name: {**number, "value": number["value"] * ratio} if name in DOLLARS else number for name, number in now.numbers.items()
    }


def verdict(found: Sequence[Cause]) -> str:
    """Returns the causes in a line: what each is, and what putting it back undoes."""
    if not found:
        return "no digest differs"
    told = [f"{each['sentence']}{_share(each)}" for each in found[:SHOWN]]
    more = len(found) - len(told)
    return "; ".join([*told, *([f"and {more} more"] if more else [])])


def _share(cause: Cause) -> str:
    if cause.get("explains") is None:
        return ""
    return f" (put back, {cause['explains']} of {cause['of']} numbers are as they were)"
