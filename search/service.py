"""The use cases, one function each: every door (command line, REST, dashboard) calls these."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from db import queries, record
from db.session import Store, open_store
from search.capacity import Capacity, measure_capacity
from search.driver import MOST_FINALISTS, Stopped, Study
from search.executor.auto import choose
from search.fidelity import ANSWER, MINIMUM_REQUESTS
from search.ledger import Ledger, Ranked
from search.progress import Progress
from search.request import SearchRequest
from simulator.draw import draw, own_rate
from simulator.errors import Infeasible, InputError
from simulator.kernel.digest import kernel_digest
from simulator.measure import metrics
from simulator.resolve import resolve
from simulator.run import Outcome, Prepared, prepare, simulate
from simulator.scenario import Scenario
from simulator.spec.prices import Bill
from simulator.traffic import Traffic

# CPU seconds of a trial up to the choice of finalists, and of a finalist, from `make bench`; they only choose the executor.
TRIAL_S, FINALIST_S = 0.4, 3.5
PACKAGES = ("trimtab", "numba", "numpy", "optuna", "ray", "aiconfigurator-core")


@dataclass(frozen=True)
class Simulated:
    """One run: the document that `simulate --json` prints, and what it was derived from."""

    document: dict[str, Any]
    outcome: Outcome
    traffic: Traffic


def run_simulation(scenario: Scenario, *, record_steps: bool = False) -> Simulated:
    """Returns one run of the scenario, with all of its steps where they are asked for; raises InputError or Infeasible."""
    workload = scenario.workload
    prepared = _prepared(scenario)
    if workload.rate_rps is None and own_rate(workload) is None:
        raise InputError("workload.rate_rps", None, "requests a second, since the workload has no clock of its own")
    traffic = draw(workload, None, workload.seed)
    outcome = simulate(prepared, traffic, workload.rate_rps, record_steps=record_steps)
    document = {
        "metrics": metrics(outcome, prepared, scenario.slo, _bill(scenario, prepared)).model_dump(mode="json"),
        "deployment": prepared.deployment.model_dump(mode="json"),
        "provenance": _provenance(prepared, workload.seed, traffic.notes),
    }
    return Simulated(document, outcome, traffic)


def run_capacity(scenario: Scenario) -> dict[str, Any]:
    """Returns the document that `capacity --json` prints; raises InputError or Infeasible.

    `num_requests` of the workload sets the requests of a run, for each replica.
    """
    if scenario.slo is None:
        raise InputError("slo", None, "the bounds that a capacity keeps, such as {ttft_p99_s: 2.0}")
    count = scenario.workload.num_requests or ANSWER.requests
    if count < MINIMUM_REQUESTS:
        allowed = f"{MINIMUM_REQUESTS:,} or more, since shorter runs overstate a capacity"
        raise InputError("workload.num_requests", count, allowed)
    fidelity = replace(ANSWER, requests=count)
    prepared = _prepared(scenario)
    bill = _bill(scenario, prepared)
    found = measure_capacity(prepared, scenario.workload, scenario.slo, fidelity, scenario.workload.seed, bill)
    return _capacity_document(scenario, prepared, found, bill)


def _capacity_document(scenario: Scenario, prepared: Prepared, found: Capacity, bill: Bill | None) -> dict[str, Any]:
    rate = found.rate_rps
    return {
        "capacity_rps": {"value": rate.value, "low": rate.low, "high": rate.high, "level": rate.level},
        "binding": found.binding,
        "saturated_rps": found.saturated_rps,
        "safe_rps": found.safe_rps,
        "curve": [{"rate_rps": at, "metrics": measured.model_dump(mode="json")} for at, measured in found.runs],
        "requests": found.requests,
        "seeds": found.seeds,
        "deployment": prepared.deployment.model_dump(mode="json"),
        "bill": bill.model_dump(mode="json") if bill else None,
        "provenance": _provenance(prepared, scenario.workload.seed, found.notes),
    }


def _prepared(scenario: Scenario) -> Prepared:
    return prepare(resolve(scenario.deployment, "deployment"), scenario.profiles)


def _bill(scenario: Scenario, prepared: Prepared) -> Bill | None:
    book, deployment = scenario.price_book(), prepared.deployment
    if book is None:
        return None
    bill = book.bill(deployment.device, deployment.gpus_per_replica, deployment.replicas)
    if bill is None:
        raise InputError("prices", scenario.prices, f"a book that sells {deployment.device}: it sells {', '.join(book.devices)}")
    return bill


def _provenance(prepared: Prepared, seed: int, notes: tuple[str, ...]) -> dict[str, Any]:
    return {
        **prepared.provenance.model_dump(mode="json"),
        "engine": "counters" if prepared.limits.counters else "plain",
        "kernel_digest": kernel_digest(),
        "seed": seed,
        "notes": list(notes),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Returns the versions of what decides an answer, of those packages that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def run_search(
    request: SearchRequest,
    *,
    db: str,
    executor: str = "auto",
    address: str | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> str:
    """Returns the id of the study, run to its end and stored; an unfinished study of the same request is resumed.

    Raises Infeasible when nothing keeps the Slo, Stopped when `stop` asked for it; what was scored stays stored.
    """
    with open_store(db) as store:
        study_id = _begin(store, request)
        try:
            ranked, study, sentence = _searched(request, store, study_id, executor, address, report, stop)
        except (Stopped, KeyboardInterrupt):
            record.finish_study(store, study_id, "cancelled")
            raise
        except Infeasible as error:
            record.finish_study(store, study_id, "infeasible", {"sentence": str(error)})
            raise
        except BaseException as error:
            record.finish_study(store, study_id, "failed", {"sentence": f"{type(error).__name__}: {error}"})
            raise
        summary = _summary(ranked, study, sentence)
        if not any(place.on_frontier for place in ranked):
            reason = _nothing(store, study_id)
            record.finish_study(store, study_id, "infeasible", {**summary, "sentence": reason})
            raise Infeasible(f"study {study_id}: {reason}")
        record.finish_study(store, study_id, "done", summary)
        return study_id


def _begin(store: Store, request: SearchRequest) -> str:
    """Returns the id of the study to run: an unfinished one of this request by this very software, else a new one."""
    digest, software = request.digest(), (versions(), kernel_digest())
    unfinished = queries.find_resumable(store, digest, request.seed)
    if unfinished is not None and (unfinished.versions, unfinished.kernel_digest) == software:
        return record.start_study(store, unfinished.id, resume=True).id
    created = record.create_study(
        store,
        name=request.name,
        digest=digest,
        request=request.model_dump(mode="json"),
        seed=request.seed,
        versions=software[0],
        kernel_digest=software[1],
    )
    return record.start_study(store, created.id).id


def _searched(
    request: SearchRequest,
    store: Store,
    study_id: str,
    executor: str,
    address: str | None,
    report: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> tuple[list[Ranked], Study, str]:
    ledger = Ledger(store, study_id)
    space = request.build_space()
    trials = min(space.size, request.budget.trials)
    work = trials * TRIAL_S + min(trials, MOST_FINALISTS) * FINALIST_S
    chosen, sentence = choose(executor, work, address)
    with chosen as workers:
        study = Study(request, ledger, workers, report, stop)
        report(Progress("screen", 0, 0, None, 0.0, None, sentence))
        if ledger.recalled:
            report(Progress("screen", 0, 0, None, 0.0, None, f"resuming {study_id}, which has {ledger.recalled} trials"))
        ranked = study.run()
    values = [{o.name: o.value(place.point) for o in study.objectives} for place in ranked]
    ledger.publish(ranked, values)
    return ranked, study, sentence


def _summary(ranked: list[Ranked], study: Study, sentence: str) -> dict[str, Any]:
    frontier = [place for place in ranked if place.on_frontier]
    best = min(frontier, key=lambda place: place.rank or 0, default=None)
    notes = sorted({note for place in ranked for note in place.scored.notes})
    return {
        "executor": sentence,
        "sampler": study.sampler_sentence,
        "dropped": dict(study.space.dropped.most_common()),
        "notes": notes,
        "frontier_points": len(frontier),
        "left_out": study.left_out,
        "binding": best.scored.binding if best else None,
    }


def _nothing(store: Store, study_id: str) -> str:
    """Returns why no trial has an answer: the commonest reasons."""
    reasons = [row.reason for row in queries.trials(store, study_id) if row.reason]
    if not reasons:
        return "no deployment of the space could be tried"
    return f"none of {len(reasons)} deployments keeps the SLO; the first: {reasons[0]}"
