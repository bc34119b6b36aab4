"""The other cases: price books as they are, measured sets, and deployments on a real engine."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from db.sweep_rows import SweepCaseResult, SweepCaseState
from search.answers import versions
from search.sweep import digests
from search.sweep.numbers import exact
from search.sweep.suite import AccuracyCase, EngineCase, PricesCase
from simulator import catalog
from simulator.accuracy import _command as sets
from simulator.accuracy._score import by_metric
from simulator.errors import Infeasible, InputError, Unmeasured
from simulator.resolve import resolve
from simulator.spec.prices import Instance, Term

TERMS: tuple[Term, ...] = ("on_demand", "reserved", "spot")
MEASURED = ("ttft_s.p50", "ttft_s.p99", "tpot_s.mean", "itl_s.p99")


def prices(case: PricesCase) -> SweepCaseResult:
    """Returns every price of the book on every term as a number."""
    book = catalog.price_book(case.book, field="book")
    numbers = {}
    for offer in book.instances:
        for term in TERMS:
            price = offer.usd_per_hour(term)
            if price is not None:
                numbers[_offer(offer, term)] = exact("prices", price)
    entries = {name: {"digest": digests.of_value(each), "usd_per_hour": each["value"]} for name, each in numbers.items()}
    rules = {"packing": {"digest": f"{book.packing}, {book.term}"}}
    return SweepCaseResult(name=case.name, kind="prices", state="done", numbers=numbers, digests={"price": {**rules, **entries}})


def _offer(offer: Instance, term: Term) -> str:
    where = f" in {offer.region}" if offer.region else ""
    return f"{offer.provider} {offer.name} ({offer.gpus} x {offer.device}){where}, {term}"


def accuracy(case: AccuracyCase) -> SweepCaseResult:
    """Returns the median absolute error of each set and metric; failed, with the reason, where there is nothing to score."""
    try:
        found, missing = sets.score_sets(case.sets, sets.data_folder(Path(case.data) if case.data else None), _quietly)
    except (Infeasible, InputError) as error:
        return SweepCaseResult(name=case.name, kind="accuracy", state="failed", reason=str(error))
    numbers: dict[str, Any] = {}
    for of in found:
        for metric, summary in by_metric(of.scores).items():
            told = {"n": summary.n, "mean": summary.mean, "p90": summary.p90, "bias": summary.bias}
            numbers[f"{of.name}: {metric}"] = {**exact("accuracy", summary.median), **told}
    notes = [{"kind": "not scored", "sentence": f"{name}: {reason}"} for name, reason in missing.items()]
    return SweepCaseResult(name=case.name, kind="accuracy", state="done", numbers=numbers, notes=notes)


def _quietly(name: str, done: int, total: int) -> None:
    pass


def is_runnable(case: EngineCase) -> bool:
    """Returns whether this machine has the GPU that the case is for; a case for a CPU runs only when it is asked for."""
    device = catalog.device(case.scenario.deployment.device, f"{case.name}.scenario.deployment.device")
    if device.vendor == "cpu":
        return False
    from importlib.util import find_spec

    if find_spec("torch") is None:
        return False
    from profiler.machine import is_here

    return is_here(device)


def engine(case: EngineCase, logs: Path) -> SweepCaseResult:
    """Returns what an engine on this host did at each load; failed where nothing could be measured."""
    from search.validate_one import validate_scenario
    from search.validation import Server

    resolved = resolve(case.scenario.deployment, "deployment")
    found: digests.Digests = {
        "suite": digests.of_suite({"loads": list(case.loads), "requests": case.requests, "engine": case.engine}),
        "deployment": digests.of_deployment(resolved),
        **digests.of_catalog([resolved]),
        "code": {f"package {name}": {"digest": number} for name, number in _installed().items()},
    }
    try:
        server = Server(case.engine, logs, None, case.model_path, None, True)
        document = validate_scenario(case.scenario, server, list(case.loads), case.requests)
    except (Infeasible, Unmeasured) as error:
        return SweepCaseResult(name=case.name, kind="engine", state="failed", reason=str(error), digests=found)
    numbers, faults = {}, []
    for item in document["items"]:
        if item["fault"]:
            faults.append(f"at {item['load']:.0%}: {item['fault']['kind']}, {item['fault']['reason']}")
            continue
        for name in MEASURED:
            metric, statistic = name.split(".")
            value = (item["measured"].get(metric) or {}).get(statistic)
            if value is not None:
                numbers[f"{metric.removesuffix('_s')}_{statistic}_s at {item['load']:.0%}"] = exact("engine", value)
    state: SweepCaseState = "done" if numbers else "failed"
    return SweepCaseResult(
        name=case.name, kind="engine", state=state, reason="; ".join(faults) or None, numbers=numbers, digests=found
    )


def _installed() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()} | {name: number for name, number in versions().items() if name == "trimtab"}
    for package in ("torch", "vllm", "sglang"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
