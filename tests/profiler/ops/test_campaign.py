"""Campaigns under a synthetic clock: the budget, the log, and what a later run finds."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from profiler.campaign import DEAREST
from profiler.log import Log
from profiler.sample import Place, Sample
from profiler.subject import Subject
from profiler.subjects import Limits
from simulator import catalog
from simulator.errors import InputError
from simulator.optime import profile
from tests.profiler.ops.synthetic import Synthetic, campaign, subjects


def seconds(subject: Subject, place: Place) -> float:
    """A step in the middle of all grids."""
    first = place[0]
    return 1e-6 * (10 + first * (2 if first > 5 else 1) + sum(place[1:]))


def jagged(subject: Subject, place: Place) -> float:
    """A second or so that no line foresees."""
    return 1.0 + sum(place) * 7919 % 13 / 30


def points(path: Path) -> dict[object, float]:
    tables = profile.tables_of(path)
    return {(row["operator"], *sorted(map(str, row.items()))): float(str(row["seconds"])) for row in profile.rows_of(tables)}


def test_every_subject_has_its_grid_and_the_rest_is_refinement(own: Path) -> None:
    clock = Synthetic(seconds)
    done = campaign(own, clock, subjects())
    assert done.run() == len(points(done.target.path)) > sum(len(grid.coarse()) for grid in done.grids)
    assert done.finished


def test_an_interrupted_run_goes_on_where_it_was(own: Path) -> None:
    every = subjects()
    whole = Synthetic(seconds)
    campaign(own / "whole", whole, every).run()
    first = Synthetic(seconds, stop_after=30)
    with pytest.raises(KeyboardInterrupt):
        campaign(own / "parts", first, every).run()
    assert points(own / "parts" / "test-cpu" / "mine.parquet")
    second = Synthetic(seconds)
    campaign(own / "parts", second, every).run()
    assert first.taken + second.taken == whole.taken
    assert points(own / "parts" / "test-cpu" / "mine.parquet") == points(own / "whole" / "test-cpu" / "mine.parquet")
    assert [path.name for path in sorted((own / "parts" / "test-cpu").iterdir())] == [".mine.jsonl", "mine.parquet"]


def test_a_line_half_written_by_a_kill_is_measured_again(own: Path) -> None:
    every = subjects()
    with pytest.raises(KeyboardInterrupt):
        campaign(own, Synthetic(seconds, stop_after=9), every).run()
    log = own / "test-cpu" / ".mine.jsonl"
    log.write_bytes(log.read_bytes()[:-7])
    again = Synthetic(seconds)
    assert campaign(own, again, every).run()
    lines = log.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 8 + len(again.taken)


def test_a_log_of_another_machine_is_refused(tmp_path: Path) -> None:
    Log(tmp_path / ".a.jsonl", {"gpu": "one"}).close()
    with pytest.raises(InputError, match="gpu was one, is two"):
        Log(tmp_path / ".a.jsonl", {"gpu": "two"})


def test_the_budget_ends_a_run_and_the_next_one_goes_on(own: Path) -> None:
    every = subjects(limits=Limits(tokens=512, sequences=64, length=256))
    clock = Synthetic(jagged)
    short = campaign(own, clock, every, budget_s=330.0)
    short.run()
    assert not short.finished
    assert 100.0 < clock.now <= 332.0
    later = Synthetic(jagged)
    campaign(own, later, every).run()
    assert later.taken
    assert set(later.taken).isdisjoint(clock.taken)


def test_dear_points_are_left_out_and_cheap_ones_of_all_come_first(own: Path) -> None:
    every = subjects()
    clock = Synthetic(lambda subject, place: 1e6 * subject.least_seconds(place, done.target.device))
    budget = 8e6 * max(every[0].least_seconds((rows,), catalog.device("test-cpu")) for rows in every[0].lines[0]) / DEAREST / 4
    done = campaign(own, clock, every, budget_s=budget)
    done.run()
    assert done.too_dear
    assert all(grid.samples for grid in done.grids)


def test_a_sample_tells_its_spread_and_reps(own: Path) -> None:
    clock = Synthetic(seconds)
    done = campaign(own, clock, subjects()[:1])
    done.take = lambda subject, place: Sample(clock(subject, place).seconds, 1e-7, 11)
    done.run()
    columns = parquet.read_table(done.target.path).to_pydict()
    assert set(columns["spread"]) == {1e-7}
    assert set(columns["reps"]) == {11}
