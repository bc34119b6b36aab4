"""One stored study run to its answer, by whoever holds its job: a worker, or the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from db import queries
from db.rows import FinalState
from db.session import Store
from search.driver import MOST_FINALISTS, Study
from search.executor import Executor
from search.ledger import Ledger, Ranked
from search.patience import Patience
from search.progress import Progress
from search.request import SearchRequest

# CPU seconds of a trial up to the choice of finalists, and of a finalist, from `make bench`; they only choose the executor.
TRIAL_S, FINALIST_S = 0.4, 3.5
Choose = Callable[[float], tuple[Executor, str]]


@dataclass(frozen=True)
class Ended:
    """How a study ended, what its summary says, and why in one line where it has no frontier."""

    state: FinalState
    summary: dict[str, Any]
    reason: str | None = None


def run_study(
    store: Store,
    study_id: str,
    request: SearchRequest,
    choose: Choose,
    report: Callable[[Progress], None],
    stop: Callable[[], bool],
    patience: Patience | None = None,
) -> Ended:
    """Returns how the study ended; its trials and its frontier are stored, its state is the caller's to write.

    `choose` returns the executor for so many CPU seconds of work and a sentence about it. Raises Stopped when `stop`
    asked for it; what was scored stays stored.
    """
    ledger = Ledger(store, study_id, patience)
    space = request.build_space()
    trials = min(space.size, request.budget.trials)
    workers, sentence = choose(trials * TRIAL_S + min(trials, MOST_FINALISTS) * FINALIST_S)
    study = Study(request, ledger, workers, report, stop)
    report(Progress("screen", 0, 0, None, 0.0, None, sentence))
    if ledger.recalled:
        report(Progress("screen", 0, 0, None, 0.0, None, f"resuming {study_id}, which has {ledger.recalled} trials"))
    ranked = study.run()
    values = [{o.name: o.value(place.point) for o in study.objectives} for place in ranked]
    ledger.publish(ranked, values)
    summary = _summary(ranked, study, sentence)
    if any(place.on_frontier for place in ranked):
        return Ended("done", summary)
    reason = _nothing(store, study_id)
    return Ended("infeasible", {**summary, "sentence": reason}, reason)


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
