"""Pinned scenarios: a deployment simulated for several seeds, or its capacity."""

from __future__ import annotations

from typing import Any

from db.sweep_rows import SweepCaseResult
from search import answers
from search.capacity import traffic_for
from search.fidelity import ANSWER, MINIMUM_REQUESTS
from search.sweep import digests
from search.sweep.numbers import Kind, exact, of_interval, of_samples, seeded
from search.sweep.suite import ScenarioCase
from simulator.draw import draw
from simulator.errors import Infeasible
from simulator.optime.chain import Through
from simulator.run import Prepared
from simulator.scenario import Scenario
from simulator.traffic import Traffic

Numbers = dict[str, dict[str, Any]]
LATENCIES = ("ttft_s.p50", "ttft_s.p99", "tpot_s.mean", "itl_s.p99", "e2e_s.p99")
PLAIN: dict[str, Kind] = {
    "output_token_throughput_tps": "throughput",
    "goodput_rps": "throughput",
    "usd_per_hour": "cost",
    "usd_per_million_output_tokens": "cost",
    "kv_blocks": "memory",
}
# What follows from the deployment alone.
SEEDLESS = ("usd_per_hour", "kv_blocks")


def run(case: ScenarioCase, shift: int) -> SweepCaseResult:
    """Returns the case with its numbers and digests, all seeds `shift` further; infeasible where it has no answer."""
    heard = digests.Heard()
    try:
        numbers, prepared, drawn = measured(case, shift, heard)
    except Infeasible as reason:
        return SweepCaseResult(name=case.name, kind=case.ask, state="infeasible", reason=str(reason), digests=_asked(case))
    resolved, scenario = prepared.deployment, case.scenario
    found = {
        "suite": digests.of_suite(_pins(case)),
        "deployment": digests.of_deployment(resolved),
        **digests.of_catalog([resolved]),
        "profile": heard.told(prepared),
        "price": digests.of_book(scenario.prices, scenario.price_book(), [resolved.device]),
        # Requests of other seeds are others, which is no news.
        "workload": {} if shift else digests.of_traffic(drawn),
        "code": digests.of_code([resolved.scheduler], [resolved.router]),
    }
    return SweepCaseResult(name=case.name, kind=case.ask, state="done", numbers=numbers, digests=found)


def measured(case: ScenarioCase, shift: int, through: Through | None = None) -> tuple[Numbers, Prepared, list[Traffic]]:
    """Returns the numbers of a case, the deployment as it was prepared, and the requests; raises Infeasible."""
    prepared = answers.prepared_of(case.scenario, through)
    if case.ask == "capacity":
        return _capacity(_seeded(case.scenario, case.seeds[0] + shift), prepared)
    runs = [answers.run_simulation(_seeded(case.scenario, seed + shift), prepared=prepared) for seed in case.seeds]
    documents, drawn = [each.document["metrics"] for each in runs], [each.traffic for each in runs]
    numbers: Numbers = {}
    for name in LATENCIES:
        metric, statistic = name.split(".")
        samples = [document[metric][statistic] for document in documents if document[metric] is not None]
        if len(samples) == len(documents) and None not in samples:
            numbers[f"{metric.removesuffix('_s')}_{statistic}_s"] = of_samples("latency", samples)
    for name, kind in PLAIN.items():
        samples = [document[name] for document in documents]
        if None not in samples:
            numbers[name] = exact(kind, samples[0]) if name in SEEDLESS else of_samples(kind, samples)
    numbers |= _of_traffic(drawn)
    workload = case.scenario.workload
    if len(drawn) == 1 and not _is_fixed(drawn[0], draw(workload, None, drawn[0].seed + 1), prepared):
        numbers = {name: number if name in SEEDLESS else seeded(number) for name, number in numbers.items()}
    return numbers, prepared, drawn


def _capacity(scenario: Scenario, prepared: Prepared) -> tuple[Numbers, Prepared, list[Traffic]]:
    document = answers.run_capacity(scenario, prepared)
    found, seeds = document["capacity_rps"], document["seeds"]
    half = max(found["high"] / found["value"] - 1, 1 - found["low"] / found["value"])
    numbers = {"capacity_rps": of_interval("capacity", found["value"], half, seeds)}
    at_safe = next(each["metrics"] for each in document["curve"] if each["rate_rps"] == document["safe_rps"])
    if document["bill"] is not None:
        numbers["usd_per_hour"] = exact("cost", document["bill"]["usd_per_hour"])
        cost = at_safe["usd_per_million_output_tokens"]
        if cost is not None:
            # Dollars an hour are fixed: a token costs as much less as more of them are served.
            at_capacity = cost * document["safe_rps"] / found["value"]
            numbers["usd_per_million_output_tokens"] = of_interval("cost", at_capacity, half, seeds)
    numbers["kv_blocks"] = exact("memory", float(at_safe["kv_blocks"]))
    workload = scenario.workload
    count = ANSWER.count(1) if workload.num_requests is None else workload.num_requests
    drawn, other = (traffic_for(workload, min(count, MINIMUM_REQUESTS), workload.seed + further) for further in (0, 1))
    of_traffic = _of_traffic([drawn])
    if not _is_fixed(drawn, other, prepared):
        of_traffic = {name: seeded(number) for name, number in of_traffic.items()}
    return numbers | of_traffic, prepared, [drawn]


def _is_fixed(one: Traffic, other: Traffic, prepared: Prepared) -> bool:
    """Returns whether the same requests come to the same engine whatever the seed, as those of a trace that is replayed do.

    What one seed says of other traffic tells nothing about what another would say.
    """
    same = digests.of_traffic([one]) == digests.of_traffic([other])
    return same and one.content is None and prepared.deployment.replicas == 1


def _of_traffic(drawn: list[Traffic]) -> Numbers:
    numbers = {
        "prompt_tokens_mean": of_samples("workload", [float(each.prompt_tokens.mean()) for each in drawn]),
        "output_tokens_mean": of_samples("workload", [float(each.output_tokens.mean()) for each in drawn]),
    }
    rates = [each.rate_rps for each in drawn]
    # Rates on a clock of their own; drawn traffic is put to the rate that the scenario states.
    if min(rates) > 0:
        numbers["traffic_rate_rps"] = of_samples("workload", rates)
    return numbers


def _seeded(scenario: Scenario, seed: int) -> Scenario:
    return scenario.model_copy(update={"workload": scenario.workload.model_copy(update={"seed": seed})})


def _asked(case: ScenarioCase) -> digests.Digests:
    """Returns what can be told of a deployment that could not be prepared or has no capacity."""
    from simulator.resolve import resolve

    resolved, scenario = resolve(case.scenario.deployment, "deployment"), case.scenario
    return {
        "suite": digests.of_suite(_pins(case)),
        "deployment": digests.of_deployment(resolved),
        **digests.of_catalog([resolved]),
        "price": digests.of_book(scenario.prices, scenario.price_book(), [resolved.device]),
        "code": digests.of_code([resolved.scheduler], [resolved.router]),
    }


def _pins(case: ScenarioCase) -> dict[str, Any]:
    scenario = case.scenario
    workload = {name: value for name, value in scenario.workload.model_dump(mode="json").items() if name not in ("trace", "seed")}
    slo = dict(scenario.slo) if scenario.slo else None
    return {"ask": case.ask, "seeds": list(case.seeds), "slo": slo, "workload": workload}
