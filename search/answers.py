"""Answers about one deployment: a simulation, a capacity. Nothing is stored, so that no database is loaded."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from search.capacity import Capacity, measure_capacity
from search.expected import of_capacity
from search.fidelity import ANSWER, MINIMUM_REQUESTS
from simulator.draw import draw, own_rate
from simulator.errors import InputError
from simulator.expected import of_run
from simulator.kernel.digest import kernel_digest
from simulator.measure import metrics
from simulator.optime.chain import Through
from simulator.resolve import resolve
from simulator.run import Outcome, Prepared, prepare, simulate
from simulator.scenario import Scenario
from simulator.spec.prices import Bill
from simulator.traffic import Traffic

PACKAGES = ("trimtab", "numba", "numpy", "optuna", "ray", "aiconfigurator-core")


@dataclass(frozen=True)
class Simulated:
    """One run: the document that `simulate --json` prints, and what it was derived from."""

    document: dict[str, Any]
    outcome: Outcome
    traffic: Traffic


def run_simulation(scenario: Scenario, *, record_steps: bool = False, prepared: Prepared | None = None) -> Simulated:
    """Returns one run of the scenario, with all of its steps where they are asked for; raises InputError or Infeasible.

    `prepared` is its deployment where that is at hand.
    """
    workload = scenario.workload
    prepared = prepared or prepared_of(scenario)
    if workload.users is None and workload.rate_rps is None and own_rate(workload) is None:
        raise InputError("workload.rate_rps", None, "requests a second, since the workload has no clock of its own")
    traffic = draw(workload, None, workload.seed)
    outcome = simulate(prepared, traffic, workload.rate_rps, record_steps=record_steps)
    document = {
        "metrics": metrics(outcome, prepared, scenario.slo, _bill(scenario, prepared)).model_dump(mode="json"),
        "deployment": prepared.deployment.model_dump(mode="json"),
        "provenance": {**_provenance(prepared, workload.seed, traffic.notes), "engine": outcome.engine},
        "expected_error": of_run(prepared, traffic, outcome, workload.rate_rps),
    }
    return Simulated(document, outcome, traffic)


def run_capacity(scenario: Scenario, prepared: Prepared | None = None) -> dict[str, Any]:
    """Returns the document that `capacity --json` prints; raises InputError or Infeasible.

    `num_requests` of the workload sets the requests of a run, for each replica; `prepared` is the deployment where that is
    at hand.
    """
    if scenario.slo is None:
        raise InputError("slo", None, "the bounds that a capacity keeps, such as {ttft_p99_s: 2.0}")
    count = scenario.workload.num_requests or ANSWER.requests
    if count < MINIMUM_REQUESTS:
        allowed = f"{MINIMUM_REQUESTS:,} or more, since shorter runs overstate a capacity"
        raise InputError("workload.num_requests", count, allowed)
    fidelity = replace(ANSWER, requests=count)
    prepared = prepared or prepared_of(scenario)
    bill = _bill(scenario, prepared)
    found = measure_capacity(prepared, scenario.workload, scenario.slo, fidelity, scenario.workload.seed, bill)
    return _capacity_document(scenario, prepared, found, bill)


def _capacity_document(scenario: Scenario, prepared: Prepared, found: Capacity, bill: Bill | None) -> dict[str, Any]:
    rate = found.rate_rps
    assert scenario.slo is not None, "asked for by run_capacity"
    return {
        "capacity_rps": asdict(rate),
        "capacity_users": asdict(found.users) if found.users else None,
        "binding": found.binding,
        "saturated_rps": found.saturated_rps,
        "safe_rps": found.safe_rps,
        "curve": [{"rate_rps": at, "metrics": measured.model_dump(mode="json")} for at, measured in found.runs],
        "requests": found.requests,
        "seeds": found.seeds,
        "deployment": prepared.deployment.model_dump(mode="json"),
        "bill": bill.model_dump(mode="json") if bill else None,
        "provenance": _provenance(prepared, scenario.workload.seed, found.notes),
        "expected_error": of_capacity(prepared, scenario.workload, scenario.slo, found, scenario.workload.seed),
    }


def prepared_of(scenario: Scenario, through: Through | None = None) -> Prepared:
    """Returns the scenario's deployment ready to run, its operators' times passed `through`; raises InputError or Infeasible."""
    return prepare(resolve(scenario.deployment, "deployment"), scenario.profiles, through)


def _bill(scenario: Scenario, prepared: Prepared) -> Bill | None:
    book, deployment = scenario.price_book(), prepared.deployment
    if book is None:
        return None
    bill = book.bill(deployment.device, deployment.gpus_per_replica, deployment.replicas)
    if bill is None:
        sold = deployment.device in book.devices
        held = f" in instances that hold the {deployment.gpus_per_replica} GPUs of a replica" if sold else ""
        rest = "" if sold else f": it sells {', '.join(book.devices)}"
        raise InputError("prices", scenario.prices, f"a book that sells {deployment.device}{held}{rest}")
    return bill


def _provenance(prepared: Prepared, seed: int, notes: tuple[str, ...]) -> dict[str, Any]:
    return {
        **prepared.provenance.model_dump(mode="json"),
        "engine": prepared.engine_name,
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
