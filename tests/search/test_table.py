"""Tables: what people read after a search, at the widths that terminals have."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from rich.console import Console

from db.rows import StudyLine, StudyRow, TrialPoint, TrialRow
from search import sentences
from search.capacity_table import show_capacity
from search.layout import Column, fitted
from search.table import best_of_each, deployment_parts, show_studies, show_study
from simulator.cli import digits, dollars, seconds, sources_line

Make = Callable[..., Any]


def printed(show: Callable[..., None], *given: Any, width: int = 100, **named: Any) -> str:
    """Returns what is printed on a console of a width."""
    file = io.StringIO()
    show(Console(file=file, width=width, markup=False, highlight=False, emoji=False), *given, **named)
    return file.getvalue()


def frontier(
    row: StudyRow, points: Sequence[TrialPoint], trials: Sequence[TrialRow] | None = None, width: int = 160, **named: Any
) -> str:
    """Returns what is printed of a study."""
    scored = [found.trial for found in points] if trials is None else trials
    return printed(show_study, row, points, scored, place="studies.db", width=width, **named)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.2134, "0.213"), (2.134, "2.13"), (21.34, "21.3"), (213.4, "213"), (2134, "2,134"), (21345.6, "21,346"),
     (0.9996, "1.00"), (0.0, "0"), (None, "-")],
)  # fmt: skip
def test_numbers_have_three_digits_and_thousands_whole(value: float | None, text: str) -> None:
    assert digits(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0273, "27.3 ms"), (1.98, "1.98 s"), (0.99951, "1.00 s"), (0.9994, "999 ms"), (12.345, "12.3 s"), (0.0, "0 s"), (None, "-")],
)
def test_latencies_have_a_unit_that_suits_them(value: float | None, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.2134, "$0.213"), (6.88, "$6.88"), (5022.4, "$5,022.40"), (None, "-")])
def test_dollars_are_exact_to_the_cent_from_ten_on(value: float | None, text: str) -> None:
    assert dollars(value) == text


def test_a_row_shows_deployment_capacity_load_cost_and_latency(study: Make, trial: Make, point: Make) -> None:
    text = frontier(study(), [point(trial(), rate_rps=11.0)])
    line = next(line for line in text.splitlines() if "H100-SXM" in line)
    for part in ("1x H100-SXM TP1 vllm_v1 2048 tok", "1x p5.4xlarge", "12.3 [12.1, 12.5]", "11.0", "$0.700", "500 ms", "30.0 ms"):
        assert part in line


def test_a_deployment_is_one_row_at_its_best_point_unless_all_are_asked_for(study: Make, trial: Make, point: Make) -> None:
    first, second = trial(0), trial(1, knobs={"max_num_batched_tokens": 512})
    points = [point(first, 1, usd=0.7), point(second, 2, usd=0.8), point(first, 3, usd=0.9, rate_rps=6.0)]
    text = frontier(study(), points)
    assert text.count("H100-SXM TP1") == 2
    assert "the frontier has 3 operating points: trimtab frontier s-1 --all" in text
    every = frontier(study(), points, every=True)
    assert every.count("H100-SXM TP1") == 3
    assert "--all" not in every


def test_the_best_point_follows_the_direction_of_the_objective(trial: Make, point: Make) -> None:
    scored = trial()
    points = [point(scored, rank, objectives={"capacity_rps": rate}) for rank, rate in ((1, 5.0), (2, 9.0), (3, None))]
    assert [found.point.rank for found in best_of_each(points, "capacity_rps")] == [2]


def test_knobs_show_when_the_study_tried_several_of_their_values(study: Make, trial: Make, point: Make) -> None:
    trials = [trial(0, knobs={"max_num_seqs": 64}), trial(1, knobs={"max_num_seqs": 128})]
    points = [point(trials[0], 1), point(trials[1], 2)]
    assert "64 seqs" not in frontier(study(), points)
    assert "64 seqs" in frontier(study(space={"max_num_seqs": [64, 128]}), points)


def test_pipeline_stages_show_only_when_there_are_several() -> None:
    plain = {"replicas": 2, "device": "L4", "tensor_parallel_size": 1, "pipeline_parallel_size": 1, "scheduler": "s"}
    plain["max_num_batched_tokens"] = 512
    assert deployment_parts(plain) == ["2x L4 TP1", "s", "512 tok"]
    assert deployment_parts({**plain, "pipeline_parallel_size": 2})[0] == "2x L4 TP1 PP2"
    assert deployment_parts({**plain, "enable_prefix_caching": False}, ["enable_prefix_caching"])[-1] == "prefix cache off"
    optional = ["scheduler_options.batching"]
    assert deployment_parts({**plain, "scheduler_options": {"batching": "combined"}}, optional)[-1] == "batching=combined"
    assert deployment_parts({**plain, "scheduler_options": {}}, optional) == deployment_parts(plain)


def test_rows_tell_their_trials_which_other_commands_take(study: Make, trial: Make, point: Make) -> None:
    first, second = trial(7), trial(3)
    points = [point(first, rate_rps=9.0), point(second, rate_rps=8.0), point(first, rate_rps=7.0)]
    row = study()
    text = frontier(row, points, every=True)
    assert f"the rows, from the first, are trials 7, 3, 7 (as in: trimtab launch {row.id} TRIAL)\n" in text


def test_a_frontier_of_one_is_told_in_the_singular(study: Make, trial: Make, point: Make) -> None:
    text = frontier(study(), [point(trial(4))])
    assert "the row is trial 4 (as in" in text and "1 deployment, at its best point" in text


def test_ties_are_marked_and_a_winner_alone_is_not(study: Make, trial: Make, point: Make) -> None:
    trials = [trial(0), trial(1)]
    tied = frontier(study(), [point(trials[0], 1, tied=True), point(trials[1], 2, usd=0.71, tied=True)])
    assert "=1" in tied and "=2" in tied
    assert "the two cannot be told apart" in tied
    alone = frontier(study(), [point(trials[0], 1, tied=True), point(trials[1], 2, usd=0.9)])
    assert "=1" not in alone
    assert "told apart" not in alone


def test_what_binds_the_winner_and_what_the_runner_up_costs_is_said(study: Make, trial: Make, point: Make) -> None:
    text = frontier(study(), [point(trial(0), 1, usd=0.5), point(trial(1), 2, usd=0.55)])
    assert "the winner is bound by ttft_p99_s at 12.3 req/s: 1.98 s of 2.00 s" in text
    assert "the runner-up costs 10 % more: usd_per_million_output_tokens 0.550 after 0.500" in text
    assert "the winner rents 1x p5.4xlarge of AWS, 1 GPU: $6.88 an hour, $5,022.40 a month" in text
    assert "stored in studies.db" in text


def test_a_winner_whose_backlog_grows_is_bound_by_that(study: Make, trial: Make, point: Make) -> None:
    text = frontier(study(), [point(trial(binding="backlog"))])
    assert "the winner is bound by its backlog: beyond 12.3 req/s requests pile up for ever" in text


def test_a_fleet_that_was_sized_for_a_demand_says_what_more_load_breaks(study: Make, trial: Make, point: Make) -> None:
    sized = {"capacity_rps": None, "capacity_low_rps": None, "capacity_high_rps": None}
    text = frontier(study(), [point(trial(**sized))])
    assert "with more than 12.3 req/s the winner first breaks ttft_p99_s: here 500 ms of 2.00 s" in text
    text = frontier(study(), [point(trial(binding="backlog", **sized))])
    assert "with more than 12.3 req/s the winner's requests pile up before a bound breaks" in text


def test_sources_say_what_was_measured_and_what_is_absent(trial: Make) -> None:
    assert sources_line(trial().provenance, " of the winner") == (
        "operator times of the winner: measured (aiconfigurator 0.12.0) for qkv_proj; roofline (roofline) for rope; "
        "absent and counted as 0 s: host_step"
    )
    assert sources_line({}) is None


def test_infeasible_trials_are_counted_by_reason(study: Make, trial: Make, point: Make) -> None:
    late = [trial(n, state="infeasible", reason=f"ttft_p99_s is {n}.5 s even at 0.1 requests a second") for n in (1, 2, 3)]
    broken = trial(4, state="failed", reason="RuntimeError: stalled")
    text = frontier(study(), [point(trial(0))], [trial(0), *late, broken])
    assert "infeasible: 3 trials, as ttft_p99_s is 1.5 s even at 0.1 requests a second" in text
    assert text.count("requests a second") == 1
    assert "failed: 1 trial, since RuntimeError: stalled" in text


def test_many_kinds_of_reasons_are_cut_with_a_count(trial: Make) -> None:
    words = ("ape", "bee", "cat", "dog", "eel", "fox", "gnu")
    lines = list(sentences.reason_lines([trial(n, state="infeasible", reason=word) for n, word in enumerate(words)]))
    assert len(lines) == 6
    assert lines[-1] == "and 2 more for 2 other reasons"


def test_notes_of_the_workload_and_illegal_combinations_are_said(study: Make, trial: Make, point: Make) -> None:
    summary = {"notes": ["the trace's 10 rows were continued"], "dropped": {"too big": 4}, "sampler": "enumerate"}
    text = frontier(study(summary=summary), [point(trial())])
    assert "workload: the trace's 10 rows were continued" in text
    assert "not legal: 4 combinations, too big" in text


def test_a_demand_shows_the_bill_instead_of_the_capacity(study: Make, trial: Make, point: Make) -> None:
    sized = trial(capacity_rps=None, capacity_low_rps=None, capacity_high_rps=None, knobs={"replicas": 2})
    text = frontier(study(demand={"rate_rps": 12.3}), [point(sized)])
    assert "$/month" in text and "$5,022.40" in text and "2x H100-SXM" in text
    assert "capacity" not in text
    assert "at 12.3 req/s" in text.splitlines()[0]


def test_the_studys_own_latency_objectives_are_shown(study: Make, trial: Make, point: Make) -> None:
    objectives = ["e2e_mean_s", "tpot_p50_s", "output_tokens_per_gpu_s"]
    values = {"e2e_mean_s": 4.0, "tpot_p50_s": 0.02, "output_tokens_per_gpu_s": 2500.0}
    text = frontier(study(objectives=objectives), [point(trial(), objectives=values)])
    assert "E2E" in text and "TPOT" in text and "TTFT" not in text
    assert "2,500" in text


def test_without_prices_there_are_no_dollars(study: Make, trial: Make, point: Make) -> None:
    free = point(trial(bill=None), usd=None)
    free.point.metrics.update(usd_per_hour=None, usd_per_million_tokens=None)
    text = frontier(study(prices=None, objectives=["gpus", "ttft_p99_s"]), [free])
    assert "$" not in text


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_table_fits_the_terminal_and_never_loses_capacity_cost_and_latency(
    study: Make, trial: Make, point: Make, width: int
) -> None:
    bill = {"instance": "Standard_ND96isr_H100_v5", "provider": "Azure", "instances": 12, "gpus_rented": 96, "usd_per_hour": 9000.0}
    long = trial(0, knobs={"device": "A100-80G-SXM", "scheduler": "sarathi_serve"}, bill=bill)
    text = frontier(study(), [point(long)], width=width)
    table = text.split("\n\n")[1]
    assert max(map(len, table.splitlines())) <= width
    for part in ("12.3", "[12.1, 12.5]", "$0.700", "500 ms", "A100-80G-SXM TP1", "sarathi_serve", "2048 tok"):
        assert part in table
    assert ("Standard_ND96isr_H100_v5" in table) == (width > 80)


def test_the_lightest_columns_stay_longest() -> None:
    columns = [Column("a", ["x" * 10]), Column("b", ["x" * 10], weight=2), Column("c", ["x" * 10], weight=1)]
    assert [c.title for c in fitted(columns, 34)] == ["a", "b", "c"]
    assert [c.title for c in fitted(columns, 33)] == ["a", "c"]
    assert [c.title for c in fitted(columns, 5)] == ["a"]


def test_cells_are_shortened_only_where_the_width_asks_for_it() -> None:
    columns = [Column("a", ["one two"], short=["one\ntwo"]), Column("b", ["six ten"], short=["six\nten"])]
    assert [c.width for c in fitted(columns, 16)] == [7, 7]
    assert [c.width for c in fitted(columns, 15)] == [3, 7]
    assert [c.width for c in fitted(columns, 11)] == [3, 3]


def test_a_bound_is_read_at_the_highest_rate_that_was_run_within_capacity(study: Make, trial: Make, point: Make) -> None:
    curve = [
        {"rate_rps": rate, "metrics": point(trial(), ttft=ttft).point.metrics} for rate, ttft in ((9, 0.9), (12, 1.2), (14, 3))
    ]
    assert "bound by ttft_p99_s at 12.0 req/s: 1.20 s of 2.00 s" in frontier(study(), [point(trial(curve=curve))])


def test_an_unfinished_study_says_where_it_stands(study: Make, trial: Make) -> None:
    text = frontier(study("cancelled"), [], [trial(), trial(1)])
    assert "the study is cancelled: 2 trials stored" in text


def test_studies_are_listed_with_their_best(study: Make, trial: Make, point: Make) -> None:
    lines = [StudyLine(study(), {"done": 3, "infeasible": 2}, point(trial())), StudyLine(study("queued"), {}, None)]
    text = printed(show_studies, lines, "studies.db", width=140)
    assert "1x H100-SXM TP1, usd_per_million_output_tokens 0.700" in text
    assert "2026-01-02 12:00" in text and "queued" in text
    assert printed(show_studies, [], "studies.db") == "no studies in studies.db\n"


def test_a_capacity_has_its_interval_what_binds_and_the_curve(measured: Make) -> None:
    curve = [{"rate_rps": rate, "metrics": measured(ttft_s=rate / 10)} for rate in (1.4, 12.3)]
    document = {"capacity_rps": {"value": 12.3, "low": 12.1, "high": 12.5, "level": 0.95}, "binding": "ttft_p99_s", "curve": curve}
    text = printed(show_capacity, document, {"ttft_p99_s": 2.0})
    assert "capacity 12.3 req/s, 95 % interval [12.1, 12.5]" in text
    assert "bound by ttft_p99_s" in text
    assert "140 ms" in text and "1.23 s" in text and "met" in text
