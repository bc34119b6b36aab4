"""One run of a suite: every case, compared with its baseline, stored, and told as one document."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from socket import gethostname

from db import sweeps
from db.session import Store
from db.sweep_rows import SweepCaseResult, SweepCaseRow, SweepRunResult, SweepRunRow
from search.answers import versions
from search.sweep import others, scenarios, searches
from search.sweep.blame import blamed
from search.sweep.compare import compare, compared_numbers
from search.sweep.digests import of_value
from search.sweep.record import summary
from search.sweep.suite import AccuracyCase, EngineCase, Pinned, PricesCase, ScenarioCase, SearchCase, Suite
from simulator.errors import Infeasible, InputError
from simulator.kernel.digest import kernel_digest

Report = Callable[[str, SweepCaseResult], None]


@dataclass(frozen=True)
class How:
    """How a run is made: compared with which baseline (None: the suite's own), seeds how much further, which cases.

    `engines` runs cases on a real engine where there is no GPU too; `only` names cases (None: all).
    """

    baseline: str | None = None
    shift: int = 0
    engines: bool = False
    only: frozenset[str] | None = None
    executor: str = "threads"
    logs: Path = Path("sweep-logs")


def run(store: Store, suite: Suite, how: How | None = None, report: Report = lambda sentence, case: None) -> SweepRunRow:
    """Returns the run, stored with its cases; raises InputError for an unknown case or for a baseline of another's name."""
    how = how or How()
    name, began = how.baseline or suite.baseline, datetime.now(UTC)
    chosen = _chosen(suite, how)
    approved = sweeps.baseline(store, suite.name, name)
    if approved is None and how.baseline is not None:
        known = sorted({each.name for each in sweeps.baselines(store, suite.name)})
        raise InputError("--baseline", name, ", ".join(known) or "a name that `trimtab sweep approve` gave; there is none yet")
    base = None if approved is None else sweeps.run(store, approved.run_id)
    before: dict[str, SweepCaseRow] = {} if base is None else {case.name: case for case in sweeps.cases(store, base.id)}
    host, done = gethostname(), []
    for case in chosen:
        done.append(_timed(case, how))
        report(case.name, done[-1])
    same_seeds = base is not None and base.seed_shift == how.shift
    count = None if same_seeds else compared_numbers(before.values(), done)
    told = []
    for case, found in zip(chosen, done, strict=True):
        last = _last(store, suite, case, host) if isinstance(case, EngineCase) else before.get(case.name)
        told.append(_judged(suite, case, last, found, None if isinstance(case, EngineCase) else count))
    result = SweepRunResult(
        suite=suite.name,
        verdict=_verdict(told),
        baseline=name,
        baseline_run=None if base is None else base.id,
        seed_shift=how.shift,
        host=host,
        versions={**versions(), "kernel": kernel_digest(), "suite": of_value(suite.model_dump(mode="json"))},
        summary=summary(told, sorted(set(before) - {case.name for case in suite.cases()})),
        created_at=began,
        finished_at=datetime.now(UTC),
    )
    return sweeps.keep(store, result, told)


def _chosen(suite: Suite, how: How) -> list[Pinned]:
    cases = list(suite.cases())
    names = {case.name for case in cases}
    for name in how.only or ():
        if name not in names:
            raise InputError("--only", name, ", ".join(sorted(names)))
    picked = [case for case in cases if how.only is None or case.name in how.only]
    return [case for case in picked if not isinstance(case, EngineCase) or how.engines or others.is_runnable(case)]


def _timed(case: Pinned, how: How) -> SweepCaseResult:
    began = time.perf_counter()
    found = _run(case, how)
    return replace(found, seconds=round(time.perf_counter() - began, 3))


def _run(case: Pinned, how: How) -> SweepCaseResult:
    match case:
        case PricesCase():
            return others.prices(case)
        case ScenarioCase():
            return scenarios.run(case, how.shift)
        case SearchCase():
            return searches.run(case, how.shift, how.executor)
        case AccuracyCase():
            return others.accuracy(case)
        case EngineCase():
            return others.engine(case, how.logs / case.name)
    raise Infeasible(f"{case.name} is of no kind that is known")


def _last(store: Store, suite: Suite, case: Pinned, host: str) -> SweepCaseRow | None:
    return sweeps.last_on_host(store, suite.name, case.name, host)


def _judged(
    suite: Suite, case: Pinned, before: SweepCaseRow | None, now: SweepCaseResult, comparisons: int | None
) -> SweepCaseResult:
    """Returns the case with findings and causes; an accuracy set has none, whatever its error."""
    if isinstance(case, AccuracyCase):
        return now
    if before is None:
        return replace(now, notes=[*now.notes, {"kind": "new", "sentence": "nothing to compare with yet"}])
    tolerances = suite.tolerances_of(case)
    return blamed(case, before, compare(before, now, tolerances, comparisons), tolerances)


def _verdict(cases: list[SweepCaseResult]) -> str:
    if any(case.findings for case in cases):
        return "changed"
    compared = [case for case in cases if case.kind != "accuracy" and all(note["kind"] != "new" for note in case.notes)]
    return "same" if compared else "first"
