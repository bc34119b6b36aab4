"""Documents: the shape that scripts rely on, and nothing that changes between two runs of one request."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from db.rows import StudyLine, StudyRow, TrialPoint, TrialRow
from search import documents

Make = Callable[..., Any]
ITEM = (
    "trial",
    "rank",
    "tied",
    "deployment",
    "rate_rps",
    "metrics",
    "objectives",
    "expected_error",
    "capacity_rps",
    "binding",
    "bill",
)


def test_a_frontier_has_its_study_and_its_items_in_the_order_of_rank(study: Make, trial: Make, point: Make) -> None:
    trials = [trial(0), trial(3), trial(4, state="infeasible", reason="no")]
    document = documents.frontier(study(), [point(trials[1], 1), point(trials[0], 2)], trials)
    assert list(document) == ["study", "items", "next_cursor"]
    assert document["next_cursor"] is None
    assert {name: document["study"][name] for name in ("id", "name", "state", "seed")} == {
        "id": "s-1",
        "name": "chat-8b",
        "state": "done",
        "seed": 7,
    }
    assert document["study"]["objectives"][0] == {
        "name": "usd_per_million_output_tokens",
        "direction": "minimize",
        "unit": "USD per million output tokens",
    }
    assert document["study"]["trials"] == {"done": 2, "infeasible": 1, "failed": 0}
    assert [(item["trial"], item["rank"]) for item in document["items"]] == [(3, 1), (0, 2)]
    assert all(tuple(item) == ITEM for item in document["items"])


def test_an_item_has_capacity_rent_and_says_that_it_is_not_validated(trial: Make, point: Make) -> None:
    item = documents.item(point(trial()))
    assert item["capacity_rps"] == {"value": 12.3, "low": 12.1, "high": 12.5, "level": 0.95}
    assert item["bill"]["instance"] == "p5.4xlarge"
    assert item["expected_error"] == {"status": "not validated"}


def test_what_was_not_measured_or_rented_is_null(trial: Make, point: Make) -> None:
    item = documents.item(point(trial(capacity_rps=None, bill=None)))
    assert item["capacity_rps"] is None
    assert item["bill"] is None


def test_times_do_not_reach_the_frontier_so_that_a_seed_gives_the_same_bytes(study: Make, trial: Make, point: Make) -> None:
    def text(later: timedelta) -> str:
        row: StudyRow = study()
        scored: TrialRow = trial()
        moved = replace(scored, created_at=scored.created_at + later, updated_at=scored.updated_at + later)
        begun = replace(row, created_at=row.created_at + later, started_at=row.created_at + later)
        return json.dumps(documents.frontier(begun, [point(moved)], [moved]))

    assert text(timedelta(0)) == text(timedelta(hours=3))


def test_a_list_of_studies_tells_times_counts_and_the_best(study: Make, trial: Make, point: Make) -> None:
    best: TrialPoint = point(trial(2))
    document = documents.studies([StudyLine(study(), {"done": 3}, best), StudyLine(study("running"), {}, None)], "s-1")
    first, second = document["items"]
    assert first["created_at"] == "2026-01-02T12:00:00+00:00"
    assert first["finished_at"] is None
    assert first["trials"] == {"done": 3, "infeasible": 0, "failed": 0}
    assert (first["best"]["trial"], first["best"]["rate_rps"]) == (2, 12.3)
    assert (second["state"], second["best"]) == ("running", None)
    assert document["next_cursor"] == "s-1"


def test_the_whole_document_has_every_trial_and_point_and_is_json(study: Make, trial: Make, point: Make) -> None:
    trials = [trial(0), trial(1, state="infeasible", reason="too slow", curve=[], capacity_rps=None, bill=None)]
    document = json.loads(json.dumps(documents.whole(study(), trials, [point(trials[0])]), allow_nan=False))
    assert [one["state"] for one in document["trials"]] == ["done", "infeasible"]
    assert document["trials"][1]["reason"] == "too slow"
    assert document["trials"][0]["curve"][0]["rate_rps"] == 12.3
    assert document["trials"][0]["requests_per_run"] == 200_000
    assert document["points"][0]["on_frontier"] is True
    assert document["study"]["request"]["space"]


def test_rows_are_flat_alike_and_keep_trials_without_points(study: Make, trial: Make, point: Make) -> None:
    trials = [trial(0), trial(1, state="infeasible", reason="too slow", bill=None)]
    first, second = documents.rows(trials, [point(trials[0], usd=0.7)])
    assert list(first) == list(second)
    assert first["ttft_p99_s"] == 0.5
    assert first["itl_max_mean_s"] == 0.1
    assert first["objective_usd_per_million_output_tokens"] == 0.7
    assert first["bill_instance"] == "p5.4xlarge"
    assert first["max_num_batched_tokens"] == 2048
    assert (second["state"], second["reason"], second["rate_rps"], second["ttft_p99_s"]) == ("infeasible", "too slow", None, None)
    assert not any(isinstance(value, dict | list) for value in first.values())


def test_new_numbers_of_a_run_are_columns_and_its_parts_are_not(trial: Make, point: Make) -> None:
    known = point(trial(0))
    batches = {"mean": 2.5, "p50": 3.0, "max": 4.0}
    parts = {"stages": [{"busy_share": 0.5}], "completions": {"bin_s": 1.0, "counts": [1]}, "classes": {"chat": {"requests": 1}}}
    metrics = {**known.point.metrics, "batch_size": batches, "busy_share": 0.5, "prefill_s": batches, **parts}
    (row,) = documents.rows([known.trial], [replace(known, point=replace(known.point, metrics=metrics))])
    assert (row["batch_size_mean"], row["batch_size_max"], row["prefill_p50_s"], row["busy_share"]) == (2.5, 4.0, 3.0, 0.5)
    assert not set(parts) & set(row)


def test_no_trials_make_no_rows() -> None:
    assert documents.rows([], []) == []
