"""One trial: a deployment scored on the study's traffic at a fidelity, in whatever process the executor runs it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from search.breaking import check
from search.capacity import FRACTIONS, Estimate, measure_capacity, traffic_for
from search.expected import Limit, of_points
from search.fidelity import FINAL, SCREEN, Fidelity
from search.objectives import Interval, OperatingPoint
from search.probe import BEYOND, keeps, worst
from search.request import SearchRequest
from simulator.correction import corrected
from simulator.errors import Infeasible, InputError
from simulator.measure import metrics
from simulator.memory import MemoryPlan
from simulator.optime.provenance import Provenance
from simulator.run import Outcome, Prepared, prepare, simulate
from simulator.spec.correction import Correction
from simulator.spec.deployment import Resolved
from simulator.spec.metrics import Metrics
from simulator.spec.prices import Bill
from simulator.traffic import Traffic


@dataclass(frozen=True)
class Task:
    """A deployment to be scored; `key` is that of the space's deployment, before a demand sizes it."""

    request: SearchRequest
    deployment: Resolved
    fidelity: Fidelity
    number: int
    seed: int

    @property
    def key(self) -> str:
        """The canonical text of the deployment."""
        return self.deployment.canonical()


@dataclass(frozen=True)
class Scored:
    """A scored trial: its points within the Slo and its whole curve, or the reason why it is infeasible or `broken`.

    With a demand the curve is the fleet at the demand and, from a single seed, at as much more as the fidelity is unsure of.
    `expected_errors` are by rate, of published trials alone.
    """

    task: Task
    deployment: Resolved
    reason: str | None = None
    capacity: Estimate | None = None
    binding: str | None = None
    saturated_rps: float | None = None
    points: tuple[OperatingPoint, ...] = ()
    curve: tuple[tuple[float, Metrics], ...] = ()
    bill: Bill | None = None
    memory: MemoryPlan | None = None
    provenance: Provenance | None = None
    notes: tuple[str, ...] = ()
    broken: bool = False
    expected_errors: tuple[tuple[float, dict[str, Any]], ...] = ()

    @property
    def feasible(self) -> bool:
        """Whether the trial has an answer."""
        return self.reason is None


def evaluate(task: Task) -> Scored:
    """Returns the scored trial; a deployment without an answer is returned with its reason, not raised."""
    try:
        correction = task.request.correction
        told = None if correction is None else correction.model_dump_json()
        prepared = _prepared(task.key, json.dumps(task.request.profiles), told)
        if task.request.demand is not None:
            scored = _sized(task, prepared, task.request.demand.rate_rps)
        else:
            scored = _loaded(task, prepared)
        return _with_errors(scored, prepared) if task.fidelity == FINAL else scored
    except (Infeasible, InputError) as error:
        # What is wrong for every deployment was refused before the study; here one alone asks for what is not there.
        return Scored(task, task.deployment, reason=str(error))


def _with_errors(scored: Scored, prepared: Prepared) -> Scored:
    """Returns a trial that is to be published with the expected error of each of its points."""
    request, rates = scored.task.request, [point.rate_rps for point in scored.points]
    limit = Limit(request.slo, scored.capacity.value) if scored.capacity else None
    errors = of_points(prepared, request.workload, rates, scored.task.seed, scored.deployment.replicas, limit)
    if request.correction is not None:
        told = request.correction.model_dump(mode="json", include={"name", "left_out", "deployments"})
        errors = [{**each, "correction": told} for each in errors]
    return replace(scored, expected_errors=tuple(zip(rates, errors, strict=True)))


@lru_cache(maxsize=256)
def _prepared(deployment: str, profiles: str, correction: str | None = None) -> Prepared:
    """Returns a prepared deployment, kept because every fidelity scores it again; Infeasible is not kept, but cheap."""
    prepared = prepare(Resolved.model_validate_json(deployment), json.loads(profiles))
    return corrected(prepared, None if correction is None else Correction.model_validate_json(correction))


def _loaded(task: Task, prepared: Prepared) -> Scored:
    """Returns the trial at its capacity and below: the form without a demand."""
    request, deployment = task.request, task.deployment
    bill = _bill(request, deployment)
    capacity = measure_capacity(prepared, request.workload, request.slo, task.fidelity, task.seed, bill, _fractions(task))
    points = tuple(
        OperatingPoint(
            trial=task.number,
            rate_rps=rate,
            metrics=measured,
            gpus=deployment.gpus,
            capacity_rps=Interval(capacity.rate_rps.value, capacity.rate_rps.low, capacity.rate_rps.high),
            usd_per_hour=bill.usd_per_hour if bill else None,
        )
        for rate, measured in capacity.runs
        if rate <= capacity.safe_rps
    )
    return Scored(
        task,
        deployment,
        capacity=capacity.rate_rps,
        binding=capacity.binding,
        saturated_rps=capacity.saturated_rps,
        points=points,
        curve=capacity.runs,
        bill=bill,
        memory=prepared.memory,
        provenance=prepared.provenance,
        notes=capacity.notes,
    )


def _fractions(task: Task) -> tuple[float, ...]:
    """Returns where the latency curve is run: nowhere when many deployments are screened by what their capacity alone tells."""
    latencies = any(objective.unit == "s" for objective in task.request.objective_list)
    return FRACTIONS if latencies or task.fidelity != SCREEN else ()


def _bill(request: SearchRequest, deployment: Resolved) -> Bill | None:
    """Returns the cheapest rent of the fleet; None without a price book."""
    book = request.price_book
    return book.bill(deployment.device, deployment.gpus_per_replica, deployment.replicas) if book else None


def _sized(task: Task, prepared: Prepared, rate: float) -> Scored:
    """Returns the trial as the smallest fleet of whole instances that keeps the Slo at the demanded rate."""
    request = task.request
    fleets = _Fleets(task, prepared, rate)
    replicas = fleets.fewest()
    deployment = task.deployment.with_replicas(fleets.filled(replicas))
    bill = _bill(request, deployment)
    outcome, traffic = fleets.run(deployment.replicas, task.seed)
    measured = metrics(outcome, prepared, request.slo, bill)
    curve = [(rate, measured)]
    if task.fidelity.seeds == 1:
        # Whether so much more load would still be served tells whether longer runs may ask for more replicas.
        more = rate * (1 + task.fidelity.spread)
        curve.append((more, metrics(fleets.run(deployment.replicas, task.seed, more)[0], prepared, request.slo, bill)))
    point = OperatingPoint(
        trial=task.number,
        rate_rps=rate,
        metrics=measured,
        gpus=deployment.gpus,
        usd_per_hour=bill.usd_per_hour if bill else None,
    )
    return Scored(
        task,
        deployment,
        binding=fleets.binding(deployment.replicas),
        points=(point,),
        curve=tuple(curve),
        bill=bill,
        memory=prepared.memory,
        provenance=prepared.provenance,
        notes=traffic.notes,
    )


class _Fleets:
    """Fleets of one deployment at the demanded rate, by number of replicas."""

    def __init__(self, task: Task, prepared: Prepared, rate: float) -> None:
        self.task, self.prepared, self.rate = task, prepared, rate
        self.most = task.request.budget.max_gpus // task.deployment.gpus_per_replica
        self._meets: dict[int, bool] = {}

    def filled(self, replicas: int) -> int:
        """Returns the replicas that the rent of so many holds, within the budget: what is rented anyway serves too."""
        bill = _bill(self.task.request, self.task.deployment.with_replicas(replicas))
        held = bill.gpus_rented // self.task.deployment.gpus_per_replica if bill else replicas
        return min(max(replicas, held), max(replicas, self.most))

    def run(self, replicas: int, seed: int, rate: float | None = None) -> tuple[Outcome, Traffic]:
        """Returns the outcome of a fleet at the demanded rate or at another, and its traffic."""
        traffic = self.traffic(replicas, seed)
        check()
        return simulate(self.prepared, traffic, rate or self.rate, replicas), traffic

    def traffic(self, replicas: int, seed: int) -> Traffic:
        """Returns the requests that a fleet is run with."""
        return traffic_for(self.task.request.workload, self.task.fidelity.count(replicas), seed)

    def meets(self, replicas: int) -> bool:
        """Returns whether the fleet on the instances of so many replicas keeps the Slo with every seed of the fidelity."""
        size = self.filled(replicas)
        if size not in self._meets:
            slo, seeds = self.task.request.slo, self.task.fidelity.seeds_from(self.task.seed)
            self._meets[size] = all(keeps(self.prepared, slo, self.traffic(size, seed), self.rate, size) for seed in seeds)
        return self._meets[size]

    def fewest(self) -> int:
        """Returns the fewest replicas whose instances meet the Slo; raises Infeasible when the budget of GPUs holds too few."""
        request = self.task.request
        one = measure_capacity(self.prepared, request.workload, request.slo, SCREEN, self.task.seed, fractions=())
        replicas = min(max(math.ceil(self.rate / one.rate_rps.value), 1), self.most)
        while not self.meets(replicas):
            replicas += 1
            if replicas > self.most:
                raise Infeasible(
                    f"{self.rate:g} requests a second need more than {self.most} replicas, "
                    f"all that budget.max_gpus ({request.budget.max_gpus}) allows"
                )
        while replicas > 1 and self.meets(replicas - 1):
            replicas -= 1
        return replicas

    def binding(self, replicas: int) -> str:
        """Returns the bound that fails first as the load on the fleet grows beyond the demand."""
        rate = self.rate
        while True:
            rate *= BEYOND
            over, term = worst(self.run(replicas, self.task.seed, rate)[0], self.task.request.slo)
            if over > 0:
                return term
