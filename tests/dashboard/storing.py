"""Studies of tests, written to a store as a search writes them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from db import queries, record
from db.rows import PointResult, TrialResult, TrialRow
from db.session import open_store

if TYPE_CHECKING:
    from tests.dashboard.conftest import Stored


def scored(trial: TrialRow) -> TrialResult:
    """Returns a trial with the Metrics and the objectives at its capacity, as a search stores them."""
    values = {each.name: getattr(trial, each.name) for each in fields(TrialResult)}
    at = next((item["metrics"] for item in trial.curve if item["rate_rps"] == trial.capacity_rps), None)
    if at is not None:
        price = "usd_per_million_output_tokens"
        values |= {"metrics": at, "objectives": {price: at[price], "ttft_p99_s": at["ttft_s"]["p99"]}}
    return TrialResult(**values)


def keep(path: Path, stored: Stored) -> str:
    """Writes a study with its trials and points to a new store, and returns its id."""
    with open_store(path) as store:
        study = record.create_study(
            store,
            name=stored.study.name,
            digest=stored.study.digest,
            request=stored.study.request,
            seed=0,
            versions={},
            kernel_digest="k",
        )
        for trial in stored.trials:
            plain = scored(trial)
            own = [item.point for item in stored.points if item.trial.id == trial.id]
            points = [PointResult(**{each.name: getattr(point, each.name) for each in fields(PointResult)}) for point in own]
            record.upsert_trial(store, study.id, plain, points)
        record.finish_study(store, study.id, "done", stored.study.summary)
        assert queries.frontier(store, study.id)
        return study.id
