"""What pages read of a large study: few rows, chosen and sorted by the database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from db import record, sampled
from db.rows import PointResult, TrialResult
from db.sampled import Condition, Field
from db.session import Store, open_store

FIELDS = {
    "number": Field(("number",)),
    "device": Field(("deployment", "device"), "text"),
    "price": sampled.stored_value("usd_per_hour"),
    "ttft": sampled.stored_value("ttft_p99_s"),
}
AMOUNT = 60


def result(number: int) -> TrialResult:
    state = "infeasible" if number % 10 == 9 else "done"
    metrics = {"usd_per_hour": float((number * 7) % AMOUNT), "ttft_s": {"p99": number / 10}} if state == "done" else None
    return TrialResult(
        key=f"k{number}",
        state=state,  # type: ignore[arg-type]
        deployment={"device": ("H100-SXM", "L40S", "50%")[number % 3]},
        kernel_digest="k",
        seed=0,
        reason="too large" if state == "infeasible" else None,
        metrics=metrics,
        curve=[{"rate_rps": 1.0, "metrics": {}}] if metrics else [],
    )


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[Store, str]]:
    with open_store(tmp_path / "s.db") as store:
        study = record.create_study(store, name="s", digest="d", request={}, seed=0, versions={}, kernel_digest="k")
        for number in range(AMOUNT):
            points = [
                PointResult(
                    rate_rps=1.0, metrics={"slo_met": True}, objectives={"a": number}, on_frontier=number < 3, rank=number + 1
                ),
                PointResult(rate_rps=2.0, metrics={"slo_met": False}, objectives={"a": number}),
            ]
            record.upsert_trial(store, study.id, result(number), points if number % 10 != 9 else [])
        yield store, study.id


def test_a_page_is_sorted_with_rows_without_a_value_last(opened: tuple[Store, str]) -> None:
    store, study = opened
    for ascending in (True, False):
        page = sampled.page(store, study, FIELDS, (0, AMOUNT), [("price", ascending)])
        prices = [row["price"] for row in page.rows]
        known = [price for price in prices if price is not None]
        assert page.total == AMOUNT and len(known) == 54
        assert known == sorted(known, reverse=not ascending) and prices[54:] == [None] * 6


def test_pages_follow_each_other_without_a_gap(opened: tuple[Store, str]) -> None:
    store, study = opened
    spans = [(0, 25), (25, 50), (50, 75)]
    found = [row["number"] for span in spans for row in sampled.page(store, study, FIELDS, span).rows]
    assert found == list(range(AMOUNT))


def test_conditions_hold_for_every_row_and_for_the_total(opened: tuple[Store, str]) -> None:
    store, study = opened
    cheap = sampled.page(store, study, FIELDS, (0, 100), conditions=[Condition(FIELDS["price"], "lessThan", (10,))])
    assert cheap.total == len(cheap.rows) > 0 and all(row["price"] < 10 for row in cheap.rows)
    percent = sampled.page(store, study, FIELDS, (0, 100), conditions=[Condition(FIELDS["device"], "contains", ("%",))])
    assert {row["device"] for row in percent.rows} == {"50%"}
    between = sampled.page(store, study, FIELDS, (0, 100), conditions=[Condition(FIELDS["ttft"], "inRange", (1.0, 2.0))])
    assert all(1 <= row["ttft"] <= 2 for row in between.rows) and between.total > 0


def test_a_sample_is_small_and_even(opened: tuple[Store, str]) -> None:
    store, study = opened
    page = sampled.sample(store, study, FIELDS, 20)
    assert page.total == 54
    assert [row["number"] for row in page.rows] == [n for n in range(0, AMOUNT, 3) if n % 10 != 9]


def test_the_frontier_comes_by_rank_and_what_is_beaten_apart(opened: tuple[Store, str]) -> None:
    store, study = opened
    assert [item.point.rank for item in sampled.frontier(store, study, 2)] == [1, 2]
    beaten = sampled.beaten(store, study, 1000)
    assert len(beaten) == 54 * 2 - 3
    assert {item.point.metrics["slo_met"] for item in beaten} == {True, False}


def test_contenders_begin_with_the_frontier_and_bring_their_curves(opened: tuple[Store, str]) -> None:
    store, study = opened
    numbers = sampled.contenders(store, study, "usd_per_hour", True, 5)
    assert numbers[:3] == [0, 1, 2] and len(numbers) == 5
    assert all(trial.curve for trial in sampled.with_curves(store, study, numbers))


def test_reasons_are_counted(opened: tuple[Store, str]) -> None:
    store, study = opened
    assert sampled.reasons(store, study, 10) == [sampled.Reason("infeasible", "too large", 6, 9)]
