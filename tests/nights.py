"""Stored nights of a suite, made without a simulation: the last of them moved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from db import sweeps
from db.session import Store
from db.sweep_rows import SweepCaseResult, SweepRunResult, SweepRunRow

FIRST = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)
CAUSE = {"kind": "profile", "what": "gate_up_proj", "sentence": "profile: operator gate_up_proj, +5.00% in the mean of its table"}


def case(name: str, night: int, *, moved: bool = False) -> SweepCaseResult:
    """Returns a capacity, a little lower where it moved."""
    value = 20.0 * (0.97 if moved else 1.0) + 0.001 * night
    finding = {
        "kind": "moved",
        "what": "capacity_rps",
        "before": 20.0,
        "now": value,
        "better": False,
        "allowed": 0.005,
        "sentence": f"capacity_rps went from 20 to {value:.5g}, {value / 20 - 1:+.2%} (allowed 0.50%)",
    }
    numbers: dict[str, Any] = {
        "capacity_rps": {"value": value, "kind": "capacity", "half": 0.02, "seeds": 4},
        "usd_per_million_output_tokens": {"value": 5.0 / value, "kind": "cost", "half": 0.02, "seeds": 4},
    }
    return SweepCaseResult(
        name=name,
        kind="capacity",
        state="done",
        numbers=numbers,
        findings=[finding] if moved else [],
        causes=[CAUSE] if moved else [],
        seconds=1.5,
    )


def measured(night: int) -> SweepCaseResult:
    """Returns an accuracy set, scored."""
    value = 0.08 + 0.001 * night
    error = {"value": value, "kind": "accuracy", "n": 12, "mean": value, "p90": 2 * value, "bias": -0.01}
    return SweepCaseResult(name="measured", kind="accuracy", state="done", numbers={"memory: kv_blocks": error})


def night(store: Store, number: int, *, moved: bool = False, base: str | None = None, suite: str = "nightly") -> SweepRunRow:
    """Returns the stored run of one night."""
    cases = [case("one H100, chat", number, moved=moved), case("one L40S, <b>code</b>", number), measured(number)]
    began = FIRST + timedelta(days=number)
    result = SweepRunResult(
        suite=suite,
        verdict="changed" if moved else "same" if base else "first",
        baseline="main",
        baseline_run=base,
        seed_shift=0,
        host="runner-1",
        versions={"trimtab": "0.1.0"},
        summary={
            "cases": 2,
            "changed": ["one H100, chat"] if moved else [],
            "findings": int(moved),
            "accuracy": 1,
            "left_out": [],
            "seconds": 3.0,
        },
        created_at=began,
        finished_at=began + timedelta(seconds=3),
    )
    return sweeps.keep(store, result, cases)


def nights(store: Store, count: int = 8) -> list[SweepRunRow]:
    """Returns so many nights: the first was approved, the last moved."""
    runs = [night(store, 0)]
    sweeps.approve(store, runs[0].id, "main", "first night", "someone")
    runs += [night(store, number, base=runs[0].id, moved=number == count - 1) for number in range(1, count)]
    return runs
