"""Pinned searches: run to their end in a store of their own, so that no night's trials lie among people's studies."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from db import queries
from db.rows import StudyRow, TrialPoint, TrialRow
from db.session import open_store
from db.sweep_rows import SweepCaseResult
from search import objectives, service
from search.fidelity import FINAL
from search.request import SearchRequest
from search.sweep import digests
from search.sweep.numbers import Kind, of_interval
from search.sweep.suite import SearchCase
from simulator.draw import draw
from simulator.errors import Infeasible
from simulator.label import parallelism
from simulator.run import prepare
from simulator.spec.deployment import Resolved

# Enough requests to see that they are others; deployments whose operators are told, one for each device and parallelism.
TRAFFIC, TOLD = 5_000, 8


def run(case: SearchCase, shift: int, executor: str) -> SweepCaseResult:
    """Returns the case with its winner, objectives and capacities; infeasible where nothing keeps the Slo."""
    request = case.request.override(case.trials, (case.request.seed if case.seed is None else case.seed) + shift)
    with tempfile.TemporaryDirectory(prefix="trimtab-sweep-") as folder:
        db, reason = str(Path(folder) / "study.db"), None
        try:
            service.run_search(request, db=db, executor=executor)
        except Infeasible as error:
            reason = str(error)
        with open_store(db) as store:
            study = queries.studies(store, 1)[0].study
            return _result(case, request, study, queries.trials(store, study.id), queries.points(store, study.id), reason, shift)


def _result(
    case: SearchCase,
    request: SearchRequest,
    study: StudyRow,
    trials: Sequence[TrialRow],
    points: Sequence[TrialPoint],
    reason: str | None,
    shift: int,
) -> SweepCaseResult:
    names = _names(trials)
    numbers: dict[str, Any] = {}
    for trial in trials:
        half = _half(trial)
        if trial.state == "done" and trial.capacity_rps and half is not None and trial.fidelity >= FINAL.requests:
            numbers[f"capacity_rps of {names[trial.id]}"] = of_interval("capacity", trial.capacity_rps, half, FINAL.seeds)
    ranked = sorted((each for each in points if each.point.rank is not None), key=lambda each: each.point.rank or 0)
    marked: list[dict[str, Any]] = [{"kind": "states", "states": {names[trial.id]: trial.state for trial in trials}}]
    if ranked:
        winner = ranked[0]
        for name in request.objectives:
            value = winner.point.objectives.get(name)
            if value is not None:
                half = FINAL.latency_spread if objectives.load(name).unit == "s" else (_half(winner.trial) or FINAL.spread)
                numbers[name] = of_interval(_kind(name), value, half)
        tied = sorted({names[each.trial.id] for each in ranked if each.point.tied})
        marked.append({"kind": "winner", "winner": names[winner.trial.id], "tied": tied})
    return SweepCaseResult(
        name=case.name,
        kind="search",
        state="infeasible" if reason else "done",
        reason=None if reason is None else reason.split(": ", 1)[-1],
        numbers=numbers,
        digests=_digests(case, request, trials, shift),
        notes=marked,
    )


def _half(trial: TrialRow) -> float | None:
    if not trial.capacity_rps or trial.capacity_low_rps is None or trial.capacity_high_rps is None:
        return None
    return max(trial.capacity_high_rps / trial.capacity_rps - 1, 1 - trial.capacity_low_rps / trial.capacity_rps)


def _kind(objective: str) -> Kind:
    found = objectives.load(objective)
    if found.unit == "s":
        return "latency"
    return "capacity" if found.direction == "maximize" else "cost"


def _names(trials: Sequence[TrialRow]) -> dict[int, str]:
    """Returns a name for each trial: device and parallelism, and those knobs in which the trials differ."""
    knobs = [trial.deployment for trial in trials]
    told = ("device", "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
    differing = [name for name in (knobs[0] if knobs else ()) if name not in told and len({repr(k.get(name)) for k in knobs}) > 1]
    return {
        trial.id: ", ".join(
            [f"{trial.deployment['device']} {parallelism(trial.deployment)}", *(f"{n} {trial.deployment[n]}" for n in differing)]
        )
        for trial in trials
    }


def _digests(case: SearchCase, request: SearchRequest, trials: Sequence[TrialRow], shift: int) -> digests.Digests:
    resolved = [Resolved.parse(trial.deployment) for trial in trials]
    profile: dict[str, Any] = {}
    seen: set[str] = set()
    for trial, deployment in zip(trials, resolved, strict=True):
        place = f"{deployment.device} {parallelism(trial.deployment)}"
        if trial.state == "done" and place not in seen and len(seen) < TOLD:
            seen.add(place)
            heard = digests.Heard()
            prepared = prepare(deployment, request.profiles, heard)
            profile |= {f"{name} ({place})": told for name, told in heard.told(prepared).items()}
    found: digests.Digests = {
        "suite": digests.of_suite(_pins(case, request)),
        **digests.of_catalog(resolved),
        "profile": profile,
        "price": digests.of_book(request.prices, request.price_book, {each.device for each in resolved}),
        "code": digests.of_code([d.scheduler for d in resolved], [d.router for d in resolved], searching=True),
        "workload": {},
    }
    if not shift:
        found["workload"] = digests.of_traffic([draw(request.workload, TRAFFIC, request.seed, resample=True)])
    return found


def _pins(case: SearchCase, request: SearchRequest) -> dict[str, Any]:
    whole = request.model_dump(mode="json")
    pinned = {name: whole[name] for name in ("model", "engine", "slo", "demand", "space", "objectives", "budget", "sampler")}
    workload = {name: value for name, value in whole["workload"].items() if name != "trace"}
    return {**pinned, "seed": case.request.seed if case.seed is None else case.seed, "workload": workload}
