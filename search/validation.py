"""Validation of a study: its finalists on real engines, beside the simulator, stored as they end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from db import queries, validations
from db.rows import TrialPoint, TrialRow, ValidationResult, ValidationRow
from db.session import Store
from deploy.launch import launcher
from profiler.load.engines import Launch
from profiler.load.generate import Options
from profiler.validate import Compared
from profiler.validating import Fault, Job, Load, Run, measure
from search import fitting, placement
from search.agreement import agreement
from search.answers import versions
from search.request import SearchRequest
from simulator import catalog
from simulator.correction import corrected
from simulator.draw import draw
from simulator.errors import InputError, TrimtabError
from simulator.run import Prepared, prepare
from simulator.spec.correction import Correction
from simulator.spec.deployment import Resolved
from simulator.spec.workload import Workload

LOADS = (0.5, 0.8, 1.0)
REQUESTS = 300
# Requests of validation are others than those that a search was run on.
SEED = 7_919
RANKED = ("ttft_p50_s", "tpot_mean_s", "e2e_p50_s")
Tell = Callable[[int, ValidationRow], None]


@dataclass(frozen=True)
class Server:
    """The engine by name, a URL where it runs already, the weights (None: random or by the model's name), and where logs go.

    `here`: on this machine's own GPUs, without Ray.
    """

    engine: str
    folder: Path
    url: str | None = None
    weights: str | None = None
    ready_s: float | None = None
    here: bool = False


def finalists(trials: Sequence[TrialRow], points: Sequence[TrialPoint], top: int, device: str | None = None) -> list[TrialRow]:
    """Returns at most `top` deployments, the best by rank first, whose capacities differ beyond their intervals."""
    ranks: dict[int, int] = {}
    for found in points:
        if found.point.rank is not None:
            ranks[found.trial.id] = min(found.point.rank, ranks.get(found.trial.id, found.point.rank))
    able = [trial for trial in trials if trial.state == "done" and trial.capacity_rps is not None]
    able = [trial for trial in able if device in (None, trial.deployment["device"])]
    able.sort(key=lambda trial: (trial.id not in ranks, ranks.get(trial.id, 0), -(trial.capacity_rps or 0.0)))
    chosen: list[TrialRow] = []
    for trial in able:
        if len(chosen) < top and all(_apart(trial, other) for other in chosen):
            chosen.append(trial)
    return chosen


def _apart(one: TrialRow, other: TrialRow) -> bool:
    low, high = one.capacity_low_rps or 0.0, one.capacity_high_rps or 0.0
    return low > (other.capacity_high_rps or 0.0) or high < (other.capacity_low_rps or 0.0)


def validate_study(
    store: Store,
    study: str,
    server: Server,
    *,
    top: int = 3,
    loads: Sequence[float] = LOADS,
    requests: int = REQUESTS,
    device: str | None = None,
    again: bool = False,
    tell: Tell = lambda trial, row: None,
) -> str:
    """Returns the id of the study, whose finalists have been run; what is stored already is not run again.

    Faulted runs are stored too and tried anew with `again`. Raises InputError for a study without finalists on the device.
    """
    row = queries.study(store, study)
    request = SearchRequest.parse(row.request)
    if request.workload.users is not None:
        raise InputError("STUDY", study, "a study of an open workload: users in a closed loop have no share of a capacity")
    chosen = finalists(queries.trials(store, row.id), queries.points(store, row.id), top, device)
    if not chosen:
        raise InputError("STUDY", study, "a study with a feasible deployment" + (f" on {device}" if device else ""))
    known = {
        (number, each.load)
        for number, each in validations.of_study(store, row.id, server.engine)
        if each.state == "done" or not again
    }
    for trial in chosen:
        missing = [share for share in loads if (trial.number, share) not in known]
        if missing:
            _validate_trial(store, request, trial, server, missing, requests, tell)
    return row.id


def _validate_trial(
    store: Store, request: SearchRequest, trial: TrialRow, server: Server, shares: Sequence[float], requests: int, tell: Tell
) -> None:
    deployment = one_replica(Resolved.model_validate(trial.deployment))
    replicas = int(trial.deployment["replicas"])
    claimed = (trial.capacity_rps or 0.0) / replicas
    loads = [Load(share, share * claimed) for share in shares]
    prepared = corrected(prepare(deployment, request.profiles), request.correction)

    def keep(run: Run) -> None:
        result = result_of(run, server.engine, deployment.device)
        tell(trial.number, validations.keep(store, trial.study_id, trial.number, result))

    job = job_of(prepared, request.workload, server, loads, requests)
    run_job(job, deployment, server, keep)


def one_replica(deployment: Resolved) -> Resolved:
    """Returns one replica of a deployment: what is launched; the others would be alike."""
    return deployment.model_copy(update={"replicas": 1})


def job_of(prepared: Prepared, workload: Workload, server: Server, loads: Sequence[Load], requests: int) -> Job:
    """Returns what is to be run; raises InputError for a knob that the engine cannot be told."""
    deployment = prepared.deployment
    command = None
    if server.url is None:
        render = launcher(server.engine, "--engine").arguments
        command = partial(render, deployment, server.weights or deployment.model)
        # Knobs are refused here and not in the middle of a campaign.
        command(0)
    launch = Launch(deployment.model, server.folder, command, server.url, ready_s=server.ready_s)
    vocabulary = catalog.model(deployment.model).vocab_size
    options = Options(vocabulary=vocabulary, block_size=deployment.block_size, seed=SEED)
    return Job(prepared, draw(workload, requests, SEED), loads, server.engine, launch, options)


def run_job(job: Job, deployment: Resolved, server: Server, keep: Callable[[Run], None]) -> None:
    """Runs a job where its GPUs are, and gives every run to `keep`, as soon as it can."""
    place = placement.Place() if server.here else placement.place_of(deployment, server.engine)
    if place.here:
        measure(job, keep)
        return
    try:
        runs = placement.run(partial(measure, job), place)
    except InputError:
        raise
    except TrimtabError as error:
        from datetime import UTC, datetime

        now = datetime.now(UTC)
        runs = [Run(load, Fault(str(getattr(error, "kind", "displaced")), str(error)), now, now) for load in job.loads]
    for run in runs:
        keep(run)


def result_of(run: Run, engine: str, device: str) -> ValidationResult:
    """Returns a run as it is stored."""
    found, share, rate = run.found, run.load.share, run.load.rate_rps or 0.0
    common: dict[str, Any] = {
        "load": share, "rate_rps": rate, "engine": engine, "device": device, "versions": versions(),
        "started_at": run.started_at, "finished_at": run.finished_at,
    }  # fmt: skip
    if isinstance(found, Fault):
        return ValidationResult(state="faulted", fault_kind=found.kind, fault_reason=found.reason, **common)
    told = {name: getattr(found, name) for name in ("measured", "simulated", "errors", "work", "lag")}
    return ValidationResult(state="done", **told, **common)


def fit_correction(store: Store, study_id: str, name: str, engine: str) -> Correction:
    """Returns a correction fitted to the stored validations of a study, stored under a name that is new."""
    from db.rows import CorrectionResult

    rows = [(number, row) for number, row in validations.of_study(store, study_id, engine) if row.state == "done"]
    devices = sorted({row.device for _, row in rows})
    if len(devices) > 1:
        raise InputError("--fit", name, f"validations of one device, not {', '.join(devices)}; --device names one")
    residuals = [each for number, row in rows for each in fitting.residuals_of(str(number), row.errors or {}, row.work or {})]
    found = fitting.fit(name, residuals)
    factors = found.model_dump(mode="json", include={"attention", "rest", "host", "spread"})
    training = [{"study": study_id, "trial": number, "load": row.load} for number, row in rows]
    error = {"left_out": found.left_out, "deployments": found.deployments}
    stored = CorrectionResult(name=name, device=devices[0], engine=engine, factors=factors, error=error, training=training)
    validations.keep_correction(store, stored)
    return found


def correction_of(store: Store, name: str) -> Correction:
    """Returns the correction called so; raises InputError, listing those that there are."""
    from simulator.errors import unknown_name

    found = validations.corrections(store)
    if name not in found:
        raise unknown_name("--correction", name, found)
    row = found[name]
    return Correction(name=name, **row.factors, **row.error)


def document(store: Store, study_id: str, engine: str | None = None) -> dict[str, Any]:
    """Returns a study's validations by deployment and load, and how the orders agree at each load."""
    rows = validations.of_study(store, study_id, engine)
    return {
        "study": study_id,
        "items": [{"trial": number, **item(row)} for number, row in rows],
        "agreement": [each for load in sorted({row.load for _, row in rows}) for each in _agreements(rows, load)],
    }


def item(row: ValidationRow | ValidationResult) -> dict[str, Any]:
    """Returns one validation without times."""
    fault = None if row.state == "done" else {"kind": row.fault_kind, "reason": row.fault_reason}
    names = ("load", "rate_rps", "engine", "device", "state")
    told = {name: getattr(row, name) for name in names}
    return {**told, "fault": fault, "errors": row.errors, "measured": row.measured, "simulated": row.simulated, "lag": row.lag}


def _agreements(rows: Sequence[tuple[int, ValidationRow]], load: float) -> list[dict[str, Any]]:
    found = []
    for metric in RANKED:
        pairs = [_pair(row, metric) for _, row in rows if row.load == load and row.state == "done"]
        both = [pair for pair in pairs if pair is not None]
        of = agreement([real for real, _ in both], [ours for _, ours in both])
        found.append({"load": load, "metric": metric, "deployments": of.deployments, "spearman": of.spearman,
                      "kendall": of.kendall, "regret": of.regret})  # fmt: skip
    return found


def _pair(row: ValidationRow, metric: str) -> tuple[float, float] | None:
    measured, simulated = _value(row.measured, metric), _value(row.simulated, metric)
    return None if measured is None or simulated is None else (measured, simulated)


def _value(metrics: Mapping[str, Any] | None, metric: str) -> float | None:
    name, statistic = metric.removesuffix("_s").rsplit("_", 1)
    value = ((metrics or {}).get(f"{name}_s") or {}).get(statistic)
    return None if value is None else float(value)


__all__ = ["Compared", "Server", "correction_of", "document", "finalists", "fit_correction", "validate_study"]
