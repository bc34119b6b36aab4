"""The use cases, one function each: every door (command line, REST, dashboard) calls these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from db import queries, record
from db.session import Store, open_store
from search.answers import run_capacity, run_simulation, versions
from search.driver import MOST_FINALISTS, Stopped, Study
from search.executor.auto import choose
from search.ledger import Ledger, Ranked
from search.progress import Progress
from search.request import SearchRequest
from simulator.errors import Infeasible
from simulator.kernel.digest import kernel_digest

__all__ = ["run_capacity", "run_search", "run_simulation", "versions"]
# CPU seconds of a trial up to the choice of finalists, and of a finalist, from `make bench`; they only choose the executor.
TRIAL_S, FINALIST_S = 0.4, 3.5


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
