"""Documents of sweeps: what the command line, REST and the files say of a run; predictions and accuracy never mixed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from db import sweeps
from db.session import Store
from db.sweep_rows import BaselineRow, SweepCaseResult, SweepCaseRow, SweepRunRow
from search.sweep.blame import verdict

Document = dict[str, Any]


def summary(cases: Sequence[SweepCaseResult], left_out: Sequence[str]) -> Document:
    """Returns the counts of a run, and `left_out`: cases of the baseline that the suite no longer has."""
    predicted = [case for case in cases if case.kind != "accuracy"]
    return {
        "cases": len(predicted),
        "changed": [case.name for case in predicted if case.findings],
        "findings": sum(len(case.findings) for case in predicted),
        "accuracy": len(cases) - len(predicted),
        "left_out": list(left_out),
        "seconds": round(sum(case.seconds for case in cases), 3),
    }


def line(row: SweepRunRow) -> Document:
    """Returns a run as a list shows it, times in UTC."""
    return {
        "id": row.id,
        "suite": row.suite,
        "verdict": row.verdict,
        "baseline": row.baseline,
        "baseline_run": row.baseline_run,
        "seed_shift": row.seed_shift,
        "host": row.host,
        "summary": row.summary,
        "created_at": row.created_at.isoformat(),
        "finished_at": row.finished_at.isoformat(),
    }


def document(row: SweepRunRow, cases: Sequence[SweepCaseRow], approvals: Sequence[BaselineRow] = ()) -> Document:
    """Returns a run with its two reports: `predictions`, which may fail it, and `accuracy`, which does not."""
    return {
        **line(row),
        "versions": row.versions,
        "predictions": [_predicted(case) for case in cases if case.kind != "accuracy"],
        "accuracy": [_scored(case) for case in cases if case.kind == "accuracy"],
        "approvals": [approval(each) for each in approvals],
    }


def of_run(store: Store, row: SweepRunRow) -> Document:
    """Returns the whole document of a stored run."""
    approvals = [each for each in sweeps.baselines(store, row.suite) if each.run_id == row.id]
    return document(row, sweeps.cases(store, row.id), approvals)


def approval(row: BaselineRow) -> Document:
    """Returns an approval: of which run under which name, why, by whom, when."""
    return {
        "suite": row.suite,
        "baseline": row.name,
        "run": row.run_id,
        "reason": row.reason,
        "approved_by": row.approved_by,
        "approved_at": row.approved_at.isoformat(),
    }


def _predicted(case: SweepCaseRow) -> Document:
    return {
        "name": case.name,
        "kind": case.kind,
        "state": case.state,
        "reason": case.reason,
        "findings": case.findings,
        "causes": case.causes,
        "why": verdict(case.causes) if case.findings else None,
        "numbers": case.numbers,
        "notes": case.notes,
        "seconds": case.seconds,
    }


def _scored(case: SweepCaseRow) -> Document:
    return {
        "name": case.name,
        "scored": case.state == "done",
        "reason": case.reason,
        "errors": {name: {k: v for k, v in number.items() if k != "kind"} for name, number in case.numbers.items()},
        "notes": [note["sentence"] for note in case.notes if "sentence" in note],
        "seconds": case.seconds,
    }
