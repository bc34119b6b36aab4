"""Where a plan's deployments are from: the trials of a stored study, or measured now on the request's own traffic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from db import queries
from db.rows import StudyRow, TrialRow
from db.session import Store
from search.capacity import measure_capacity
from search.curves import Curve
from search.fidelity import RESCORE
from search.plan.document import Capable, Load
from search.plan.request import PlanRequest
from simulator import label
from simulator.correction import corrected
from simulator.errors import Infeasible, InputError
from simulator.resolve import resolve
from simulator.run import Prepared, prepare
from simulator.spec.correction import Correction
from simulator.spec.deployment import Deployment, Resolved
from simulator.spec.slo import Slo
from simulator.spec.workload import Workload

# What an Slo may ask of a curve.
KEPT = ("ttft_s", "tpot_s", "itl_s", "e2e_s", "requests", "rejected", "expired")


@dataclass(frozen=True)
class Terms:
    """What a plan is for: traffic, Slo, price book by name, and what the simulator needs to run it again."""

    workload: Workload
    slo: Slo
    prices: str
    profiles: tuple[dict[str, Any], ...] | None
    correction: Correction | None
    notes: tuple[str, ...] = ()

    def prepared(self, deployment: Mapping[str, Any]) -> Prepared:
        """Returns a deployment ready to be simulated as it was when its capacity was measured."""
        return corrected(prepare(Resolved.parse(deployment), self.profiles), self.correction)


def terms_of(request: PlanRequest, store: Store | None) -> Terms:
    """Returns the request's terms, a study's where it states none; raises InputError for a study that is not there."""
    if request.study is None:
        slo = request.traffic.slo_with(request.slo)
        assert slo is not None and request.prices is not None, "asked for by PlanRequest"
        return Terms(request.traffic, slo, request.prices, request.profiles, None)
    asked = _study(request, store).request
    prices = request.prices or asked.get("prices")
    if prices is None:
        raise InputError("prices", None, f"a price book, since study {request.study} has none")
    workload = Workload.parse(asked["workload"], "study.workload")
    if workload.users is not None:
        allowed = "a study of an open loop: users who wait for their answers have no rate by the hour"
        raise InputError("study", request.study, allowed)
    slo = request.slo or Slo.parse(asked["slo"])
    for name in slo.class_names:
        if name not in (workload.classes or {}):
            raise InputError(f"slo.{name}", name, "classes of the study's workload")
    correction = asked.get("correction")
    profiles = asked.get("profiles")
    return Terms(
        workload, slo, prices, None if profiles is None else tuple(profiles), Correction.parse(correction) if correction else None
    )


def capable(request: PlanRequest, terms: Terms, store: Store | None) -> tuple[tuple[Capable, ...], tuple[str, ...]]:
    """Returns the deployments with their capacities, and why others have none; raises Infeasible where none has one."""
    if request.study is not None:
        return _stored(request, _study(request, store), store), ()
    found, refused = [], []
    for place, deployment in enumerate(request.deployments or ()):
        try:
            found.append(_measured(deployment, f"deployments.{place}", terms, request.seed))
        except Infeasible as error:
            refused.append(f"deployments.{place} ({_name(resolve(deployment).model_dump())}): {error}")
    if not found:
        raise Infeasible(refused[0])
    return tuple(found), tuple(refused)


def rate_within(deployment: Capable, slo: Slo) -> tuple[float | None, str | None, str | None]:
    """Returns the rate that one replica may be given under an Slo, what binds it, and a note or the reason why there is none.

    The rate is the low end of the capacity's interval; an Slo of another kind than the measured one is read from the curve.
    """
    share = deployment.checked_share / deployment.replicas
    if dict(slo) == dict(deployment.slo):
        return deployment.low_rps * share, deployment.binding, None
    loads = [(load.rate_rps, load.metrics) for load in deployment.curve]
    end, binding, outside = Curve(loads, deployment.slo, deployment.binding, deployment.capacity_rps).end(slo)
    if deployment.sized and end is not None:
        end, outside = deployment.low_rps, "it was run at one load alone, which its capacity is at least"
    if end is None:
        return None, binding, outside
    return end * (deployment.low_rps / deployment.capacity_rps) * share, binding, outside


def _study(request: PlanRequest, store: Store | None) -> StudyRow:
    if store is None:
        raise InputError("study", request.study, "a study of a store (--db)")
    return queries.study(store, request.study or "")


def _stored(request: PlanRequest, study: StudyRow, store: Store | None) -> tuple[Capable, ...]:
    assert store is not None, "_study has asked"
    if request.trials is not None:
        rows = [queries.trial(store, study.id, number) for number in request.trials]
    else:
        rows = list({point.trial.id: point.trial for point in queries.frontier(store, study.id)}.values())
    slo = Slo.parse(study.request["slo"])
    usable = [_of_trial(row, study, slo) for row in rows if row.curve and row.state == "done"]
    if not usable:
        raise InputError("study", request.study, "a study with trials that have a latency curve (those with a frontier)")
    return tuple(usable)


def _of_trial(row: TrialRow, study: StudyRow, slo: Slo) -> Capable:
    deployment = Resolved.parse(row.deployment)
    demand = study.request.get("demand")
    value, low, high = row.capacity_rps, row.capacity_low_rps, row.capacity_high_rps
    if value is None:
        # A fleet sized for one load: that it keeps.
        value = low = high = float(demand["rate_rps"]) if demand else float(row.curve[0]["rate_rps"])
    return Capable(
        name=f"trial {row.number}: {_name(row.deployment)}",
        trial=row.number,
        deployment=row.deployment,
        replicas=deployment.replicas,
        gpus_per_replica=deployment.gpus_per_replica,
        capacity_rps=value,
        low_rps=low if low is not None else value,
        high_rps=high if high is not None else value,
        level=row.capacity_level,
        binding=row.binding,
        slo=slo,
        curve=tuple(Load(rate_rps=entry["rate_rps"], metrics=_slim(entry["metrics"])) for entry in row.curve),
        requests_per_run=row.fidelity,
        origin="stored",
        sized=row.capacity_rps is None,
    )


def _measured(given: Deployment, field: str, terms: Terms, seed: int) -> Capable:
    deployment = resolve(given, field)
    prepared = terms.prepared(deployment.model_dump(mode="json"))
    found = measure_capacity(prepared, terms.workload, terms.slo, RESCORE, seed)
    rate = found.rate_rps
    return Capable(
        name=_name(deployment.model_dump()),
        deployment=deployment.model_dump(mode="json"),
        replicas=deployment.replicas,
        gpus_per_replica=deployment.gpus_per_replica,
        capacity_rps=rate.value,
        low_rps=rate.low,
        high_rps=rate.high,
        level=rate.level,
        binding=found.binding,
        slo=terms.slo,
        curve=tuple(Load(rate_rps=at, metrics=_slim(metrics.model_dump(mode="json"))) for at, metrics in found.runs),
        requests_per_run=found.requests,
        origin="measured",
    )


def _slim(metrics: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: metrics[name] for name in KEPT if name in metrics}
    classes = metrics.get("classes")
    return {**kept, "classes": {name: _slim(each) for name, each in classes.items()}} if classes else kept


def _name(deployment: Mapping[str, Any]) -> str:
    """Returns `H100-SXM TP1 vllm_v1 2048 tok`."""
    knobs = f"{deployment['scheduler']} {deployment['max_num_batched_tokens']} tok"
    return f"{deployment['device']} {label.parallelism(deployment)} {knobs}"
